"""Detached signatures of files, bundles and packs."""
