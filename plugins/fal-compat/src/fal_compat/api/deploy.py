"""Deployments."""

from fal_host_serverless.deploy import DeploymentResult as DeploymentResult
from fal_host_serverless.deploy import User as User
from fal_host_serverless.deploy import deploy as deploy
