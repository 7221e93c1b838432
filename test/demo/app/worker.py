"""Does right what a program can do: it stops on SIGTERM and cleans up in an atexit hook."""
import atexit
import signal
import sys
import time


def stop(signum, frame):
    print("SIGTERM handler ran", flush=True)
    sys.exit(0)


atexit.register(print, "atexit hook ran", flush=True)
signal.signal(signal.SIGTERM, stop)
print("working", flush=True)
while True:
    time.sleep(1)
