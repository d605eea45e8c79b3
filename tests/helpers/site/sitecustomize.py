"""Put on PYTHONPATH for commands that a test starts: torchvision and its weights as in the test."""

import libraries

libraries.declare_operators()
libraries.move_weights()
