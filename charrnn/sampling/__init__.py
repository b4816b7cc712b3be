"""Sampling: from a model's logits to new text, without torch.

    logits          logits -> logits -> symbols
    no_repeat       what would repeat what has been written
    decoding        a model's state -> streams of symbols
    stopping        where a text ends
    token_healing   prompts that end inside of a word
    generate        prompts -> symbols -> text
    beam_search     the likeliest text, instead of a random one
    records         texts that end by themselves, until there are enough new ones
    conversation    a text that is written in turns

Rules are functions from logits to logits on the last axis, the vocabulary's; what a rule removes
becomes -inf. They are applied in one order, whatever the order of the options:

    banned -> no_repeat -> temperature -> top_k -> top_p -> min_p -> draw

so top_p sees the probabilities after the temperature, among the symbols that top_k left, and min_p
those that both left.
"""
