"""Files at addresses of a storage, in addition to files of this machine.

`Remote` has the methods of `pathlib.Path` that readers use, so that a source may be either.
"""

from maskbatch.media.storage.address import is_address, is_folder, is_there, located
from maskbatch.media.storage.remote import Remote, quick_hash_of

__all__ = ["Remote", "is_address", "is_folder", "is_there", "located", "quick_hash_of"]
