"""Stands in for Colab's own package in the simulation: its presence is how a notebook knows that it is on
Colab.
"""
