"""Learn a camera from pairs of its photos (Noise2Noise, Lehtinen et al. 2018).

pairs.py       which photos of a folder show the same scene
align.py       one photo onto another
prepare.py     two photos -> noisy picture, target, and what counts; or why not
collect.py     all scenes of a folder -> the table, and what is held out
dataset.py     the pairs on disk
corruption.py  which loss fits
source.py      pairs -> batches for the training loop
tune.py        train, watch, stop
verdict.py     is it better on what was held out?
result.py      the new model's folder
run.py         all of it
"""
