"""The dream engine: tensors in, tensors out. It knows nothing of files, configs or video."""
