"""Migrations: tables that are made, and those of earlier versions that are changed."""
