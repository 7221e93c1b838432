"""Knows nothing of signals: their default action would end it, which for PID 1 the kernel leaves out."""
import time

print("working", flush=True)
while True:
    time.sleep(1)
