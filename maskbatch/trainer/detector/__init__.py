"""Fine-tuning of the face detector: `train.train_detector` learns from annotated scenes and compares before and after."""
