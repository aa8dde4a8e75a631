"""The user's bucket: clips, thumbnails and manifests (`archive.py`) and the journal of paid calls (`journal.py`).

Nothing is overwritten with other bytes, and the manifest is written last. Every door raises ArchiveUnavailable.
"""
