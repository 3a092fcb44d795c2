"""Procedural textured objects with captions: data for tests, tutorials, training and benchmarks."""
from asset3d.toybox.catalog import CATEGORIES as CATEGORIES
from asset3d.toybox.catalog import VERSION as VERSION
from asset3d.toybox.catalog import ToyObject as ToyObject
from asset3d.toybox.catalog import make_object as make_object
from asset3d.toybox.catalog import sample_object as sample_object
