"""Copying disks between two ends so that every byte is proven to have arrived."""
