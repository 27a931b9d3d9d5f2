"""What is behind :mod:`rebel_envs.gym`: problems as tables, single and vector environments, pictures.

Empty on purpose: importing it loads neither Gymnasium nor Numba.

>>> __name__
'rebel_envs.gymnasium_envs'
"""
