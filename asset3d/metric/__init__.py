"""How good a result is: pictures against pictures, surfaces against surfaces."""
