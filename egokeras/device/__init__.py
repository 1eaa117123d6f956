"""What runs on the device, with numpy and ai-edge-litert alone: artifacts, frame streams, latency."""
