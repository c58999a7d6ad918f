"""LiteRT and OpenVINO: conversion of a run, and a detector that needs no TensorFlow."""
