"""Downloads."""

from fal_serve.media.clones import clone_repository as clone_repository
from fal_serve.media.downloads import download_file as download_file
from fal_serve.media.downloads import download_model_weights as download_model_weights
from fal_serve.media.downloads import hash_url as _hash_url  # noqa: F401  # programs use it
from fal_serve.media.errors import DownloadError as DownloadError
from fal_serve.media.places import PERSISTENT as _PERSISTENT
from fal_serve.media.places import REPOSITORIES as _REPOSITORIES
from fal_serve.media.places import WEIGHTS as _WEIGHTS

FAL_PERSISTENT_DIR = _PERSISTENT
FAL_REPOSITORY_DIR = _REPOSITORIES
FAL_MODEL_WEIGHTS_DIR = _WEIGHTS
