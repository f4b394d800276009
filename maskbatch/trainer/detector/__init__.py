"""Fine-tune the face detector: `train.train_detector` learns from annotated scenes, and measures before and after."""
