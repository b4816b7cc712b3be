"""A model as one page: a file that opens from disk, without a network, and runs the model.

`document` writes the page from `template.html`, `style.css` and the scripts; `contents` gathers
what it shows. The scripts are read in the order of `SCRIPTS`:

    weights.js      the weights, decoded     coder.py and weights.py again
    symbols.js      the last symbols         charrnn/model/ngram_hash.py and matching.py again
    vectors.js      sums and products that the network needs
    network.js      the network              charrnn/model/numpy_model.py again
    tokenizer.js    the tokenizers           charrnn/tokenizers/ again
    sampling.js     the next symbol          charrnn/sampling/logits.py again
    reader.js       a text, read symbol by symbol, and what the model made of each
    page.js         what the reader of the page sees and does
"""
