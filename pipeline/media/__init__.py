"""Pictures, videos and ffmpeg: arrays in, arrays out. It knows nothing of torch."""
