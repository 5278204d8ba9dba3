"""What connects shmchan to other projects; each package in here needs what it is named after."""
