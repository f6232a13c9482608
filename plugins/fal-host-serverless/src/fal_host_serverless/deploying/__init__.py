"""Deployments: from the declaration of an application to a registered revision."""
