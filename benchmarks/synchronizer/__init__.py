"""The pair-or-alone synchroniser against the rule of message_filters."""
