"""A program that needs some seconds to finish its work when it gets SIGTERM."""
import os, signal, sys, time

name, seconds = sys.argv[1], float(sys.argv[2])


def stop(*_):
    print(f"{name}: SIGTERM, finishes", flush=True)
    time.sleep(seconds)
    print(f"{name}: finished", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
print(f"{name}: works as pid {os.getpid()}", flush=True)
while True:
    time.sleep(60)
