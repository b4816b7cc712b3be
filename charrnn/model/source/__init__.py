"""The network that reads a record's source, and what the decoder makes of it.

    source -> encoder -> states (batch, length, size), and a summary of them (batch, size)

    the decoder's first state = tanh(W summary + b)
    after the decoder's first layer: h' = h + V (sum over s of a_s state_s)      attention

The decoder is the language model of `charrnn.model.network`. A text has a state for each symbol, a
picture one for each cell of a grid, and a label has just one, so that attention adds the same to
each step. What attention needs of the states, its memory, belongs to the decoder's state: a stream
that is copied or left out in sampling takes its source along.

`encoders` and `network` are for torch, `numpy_source` computes the same for sampling, and `shapes`
lists the weights.
"""
