"""Line service and operator console: one detector, one worker, one store of what happened."""
