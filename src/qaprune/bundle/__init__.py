"""Bundles: all that a host without network needs to run one config, in files small enough to carry."""
