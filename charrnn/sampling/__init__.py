"""Sampling: from a model's logits to new text, without torch.

    logits          sampling rules, from logits to symbols
    no_repeat       a rule against repeated sequences
    decoding        streams of symbols from a model's state
    stopping        where a text ends
    token_healing   prompts that end inside a word
    generate        from prompts to text
    beam_search     the most probable text instead of a random one
    records         whole records, until there are enough new ones
    conversation    a text written in turns

Rules are functions from logits to logits whose last axis is the vocabulary; what a rule removes
becomes -inf. Whatever the order of the options, the rules are applied in this order:

    banned -> no_repeat -> temperature -> top_k -> top_p -> min_p -> draw

So top_p sees the probabilities after the temperature, of the symbols that top_k left, and min_p
those of the symbols that both left.
"""
