"""
shmchan: a multi-process realtime web runtime for one host, in the model of Channels 1.0.
"""
