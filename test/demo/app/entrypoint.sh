#!/bin/sh
# An entrypoint as many images have it: it prepares, then starts the program without exec.
export WORKER_NAME="worker"
python3 /app/worker.py
