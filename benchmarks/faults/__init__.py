"""The fault campaign: everything that goes wrong on a robot, with an oracle for every frame."""
