"""Leaves orphans behind: each helper outlives the shell that started it, so it ends as a child of PID 1."""
import signal
import subprocess
import sys
import time


def stop(signum, frame):
    print("SIGTERM handler ran", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
for _ in range(20):
    subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)
print("left 20 helpers behind", flush=True)
while True:
    time.sleep(1)
