"""Search in Chinese without a dictionary: a run of characters counts as its characters and its pairs.

Sphinx cuts Chinese into words with jieba, and leaves it out of the index where jieba is not installed. Pairs
need no list of words, and a page is found by any part of a term, as with Lucene's analyser for Chinese.
"""

from __future__ import annotations

import re

from sphinx.search.zh import SearchChinese

RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")


class SearchByPairs(SearchChinese):
    """Sphinx's search for "zh" with pairs in the place of a dictionary's words."""

    # Whose stemmer a page calls: Sphinx 9 ships the English one for Chinese and calls one that is not there.
    language_name = "English"
    # The same cut of a question: its pairs, all of which a page must have; a lone character is itself.
    # (Sphinx escapes this text as HTML: no quotes, ampersands or angle brackets.)
    js_splitter_code = r"""
function splitQuery(query) {
  return [...query.matchAll(/[\u3400-\u4dbf\u4e00-\u9fff]+|[a-zA-Z0-9_]+/g)].flatMap(function (match) {
    const run = match[0];
    if (run.length == 1) return run;
    if (/\w/.test(run)) return run;
    return Array.from({length: run.length - 1}, function (_, at) { return run.slice(at, at + 2); });
  });
}
"""

    def split(self, input: str) -> list[str]:
        runs = RUN.findall(input)
        pairs = [run[at : at + 2] for run in runs for at in range(len(run) - 1)]
        return [*"".join(runs), *pairs, *super().split(input)]

    def word_filter(self, stemmed_word: str) -> bool:
        return bool(RUN.match(stemmed_word)) or super().word_filter(stemmed_word)
