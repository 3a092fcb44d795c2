"""Procedural textured objects with captions: data for tests, tutorials, training and benchmarks."""
from asset3d.toybox.catalog import ALL_CATEGORIES as ALL_CATEGORIES
from asset3d.toybox.catalog import CATEGORIES as CATEGORIES
from asset3d.toybox.catalog import HELD_CATEGORIES as HELD_CATEGORIES
from asset3d.toybox.catalog import HELD_OUT as HELD_OUT
from asset3d.toybox.catalog import VERSION as VERSION
from asset3d.toybox.catalog import ToyObject as ToyObject
from asset3d.toybox.catalog import make_object as make_object
from asset3d.toybox.catalog import sample_object as sample_object
from asset3d.toybox.samples import Samples as Samples
from asset3d.toybox.samples import cameras as cameras
from asset3d.toybox.samples import stack as stack
from asset3d.toybox.samples import views as views
from asset3d.toybox.words import VOCABULARY as VOCABULARY
from asset3d.toybox.words import encode as encode
