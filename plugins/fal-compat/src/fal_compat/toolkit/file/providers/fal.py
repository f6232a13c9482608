"""The default repository, and the one that puts files into their URLs."""

from fal_serve.media.repositories import FalFileRepository as FalFileRepository
from fal_serve.media.repositories import InMemoryRepository as InMemoryRepository

FalCDNFileRepository = FalFileRepository
FalFileRepositoryV2 = FalFileRepository
FalFileRepositoryV3 = FalFileRepository
