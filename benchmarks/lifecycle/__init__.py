"""Does the node leak, hang or fall silent when it is configured and changed again and again?"""
