"""What repositories take."""

from fal_serve.media.repositories import FileData as FileData
from fal_serve.media.repositories import FileRepository as FileRepository
from fal_serve.media.repositories import RepositoryId as RepositoryId
from fal_serve.media.repositories import Reservation as Reservation
