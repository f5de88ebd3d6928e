"""Makes the tokenizer fixtures: small tokenizers of every supported kind, and what the reference does with them.

Usage: make_tokenizer_fixtures.py [--data FOLDER]

The tokenizers are trained on text that this script makes up; nothing is downloaded. Each folder beside this file gets
the files that a Hugging Face folder has and expected.json: texts with their ids and the text the ids are decoded to.
With --data (the folder RETORT_DATA of the tests) real_lines.json is written too: a 64-bit digest of the ids of every
ten of 2,400 lines of the data, of which nothing else is kept.

The versions are those of ../requirements.txt.
"""
import argparse
import io
import json
import pathlib
import random
import tempfile
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent

# --- What the tokenizers are trained on ------------------------------------------------------------------------------

WORDS = """the a of to in is it that was for on with as his they be at one have this from or had by hot but some what
there we can out other were all your when up use word how said an each she which do their time if will way about many
then them would write like so these her long make thing see him two has look more day could go come did my sound no
most number who over know water than call first people may down side been now find any new work part take get place
made live where after back little only round man year came show every good me give our under name very through just
form much great think say help low line before turn cause same mean differ move right boy old too does tell sentence
set three want air well also play small end put home read hand port large spell add even land here must big high such
follow act why ask men change went light kind off need house picture try us again animal point mother world near build
self earth father student teacher divergence gradient token sequence sampling distillation knowledge model language
don't I'm you've we'll she'd it's they're let's""".split()
OTHER = """café naïve Übergröße straße señor façade crème brûlée Zürich Ærøskøbing smörgåsbord Dvořák Łódź İstanbul
привет мир язык модель слово учитель Ελλάδα γλώσσα שלום עולם مرحبا العالم नमस्ते दुनिया こんにちは世界 東京大学 日本語
你好世界 語言模型 機器學習 한국어 세계 🙂 🎉 👍🏽 👨‍👩‍👧 ❤️ ½ ² Ⅷ ﬁ … — “quoted” ‘so’ « là » 3.14 42 1999 2024 100,000 0x1F
def main(): return x_1 + y[2]; // comment <html> http://example.org/a?b=c#d foo@bar.com $5 50% a/b C++ #tag""".split()


def corpus():
    generator = random.Random(20)
    lines = []
    for _ in range(1500):
        words = [generator.choice(OTHER if generator.random() < 0.2 else WORDS) for _ in range(generator.randint(3, 14))]
        line = " ".join(words)
        line = line[0].upper() + line[1:] + generator.choice([".", "!", "?", "", ":", "..."])
        lines.append(generator.choice(["", "", "", "  ", "\t", "    "]) + line)
    return lines


# --- What they are tried on ------------------------------------------------------------------------------------------

TEXTS = [
    "", " ", "  ", "   ", "a", " a", "a ", "Hello, world!", "The teacher's student doesn't know; I'M SURE they'll see.",
    "don't I'm you've WE'LL she'd it\u2019s 'tis 'S 'LL 'Ve \u2019re", "it'\u017f can'T \u017f \u212a \u0130stanbul \u0131",
    "word  two   three    four     five", "   leading and trailing   ", "tab\tone\t\ttwo \t mixed", "\n", "\n\n\n", "line\nnext\r\nmore\rold",
    "a\n\n b \n\n\n  c\n \n", "ends with newline\n", "ends with spaces and newline   \n", "\r\n\r\n", "x\x0by\x0cz\x1c\x1d\x1e\x1f",
    "nbsp\u00a0here\u00a0\u00a0two", "nel\u0085x\u0085\u0085y", "zero\u200bwidth\u200b\u200bx\ufeffy", "mongolian\u180evowel \u180e x",
    "ogham\u1680en\u2000em\u2003thin\u2009hair\u200aline\u2028para\u2029narrow\u202fmath\u205fideo\u3000end", "\u3000\u3000x",
    "\x00", "nul\x00in\x00side", "\x01\x02\x07\x08\x1b[0m\x7f\x80\x9f", "soft\u00adhyphen, joiner\u200cx\u200dy \u2060",
    "caf\u00e9 na\u00efve \u00dcbergr\u00f6\u00dfe stra\u00dfe", "cafe\u0301 nai\u0308ve e\u0301\u0323 \u0344 a\u0315\u0300\u05ae", "\u1e9b\u0323 \u212b \u00c5 A\u030a \ufb01 \ufb03 \u01c4",
    "\u0421\u043b\u043e\u0432\u043e \u0438 \u043c\u0438\u0440", "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u039f\u0394\u039f\u03a3", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0661\u0662\u0663 \u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0640\u0640", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0915\u094d\u0937\u093f \u0967\u0968\u0969",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3002\u6771\u4eac\u5927\u5b66 \u304c\u304b\u3099 \uff76\uff9e \u30fc",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u8a9e\u8a00\u6a21\u578b 2024\u5e74", "\u4e2d\u6587and English\u6df7\u5408", "\ud55c\uad6d\uc5b4 \uc138\uacc4 \u1112\u1161\u11ab\u1100\u116e\u11a8", "\uff21\uff22\uff43\uff11\uff12\uff13\u3000\uff01",
    "\U00020000\U0002a6d6 \U0001f600\U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \u2764\ufe0f \U0001f1e9\U0001f1ea\U0001f1eb",
    "\U0001f642\U0001f642\U0001f642 \U0001f389!", "\u00bd \u00b2\u00b3 \u2167 \u2460\u2461 \u2460\u0301 \u3231 \u24d0 \U0001f130 \u0be7\u0bf0", "1 22 333 4444 55555 1234567890 3.14 1,000,000 1e-5 0x1F",
    "a1b2c3 x_1 y-2 __init__ CamelCaseWord snake_case_word", "def main():\n    return x[0] + y[1]  # comment\n\tif a != b:\n\t\tpass",
    "https://example.org/a?b=c&d=%20#e foo@bar.com", "!@#$%^&*()_+-=[]{}|;':\",./<>?`~", "\u00a1\u00bf\u00a7\u00b6\u2020\u2022\u2026\u2030\u20ac\u2116\u2122\u221e\u2260\u2192",
    "...... ------ ====== !!!!!", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ababababababababababa aaabaaabaaab lalalalalalala",
    "theinofthatwasforonwith" * 3, "supercalifragilisticexpialidocious antidisestablishmentarianism", " " * 40 + "x", "x" + " " * 40, "\t" * 9 + "x",
    "\u2581 \u2581word \u2581\u2581two a\u2581b", "<0x41> <0xE4><0xB8><0xAD> <0xZZ>", "<unk> <s> </s> <pad> [UNK]", "<s>start</s>", "a<s>b", "<|endoftext|>", "x<|endoftext|>y <|endoftext|> z",
    "<|endoftext|><|endoftext|>", "<|endoftext", "<extra_id_0> and<extra_id_1>,<extra_id_10>", "  <mask>  and <mask>", "<strip>  x  <strip>y<left>  <right> z", "word words wordword word. -word- _word w\u00f6rd",
    "Normal NORMAL normal n\u00f3rmal", "\ue000\uf8ff\ufffd\ufffe \U0010ffff \U000e0041", "q\u0308 x\u0338 \u0338 n\u0303o", "\u00ad\u034f\u061c\u200e\u200f\u202a",
    "a\u0300\u0301\u0302\u0303\u0304\u0305 z\u0334\u0335", "1\u20e3 #\ufe0f\u20e3 \u00a9\ufe0f", "\u0f40\u0f0b\u0f41 \u1780\u17d2\u1798 \u10d0\u10d1 \u13a0\u13a1 \uab70",
    "I bought 3 apples for $4.50, and 12 pears; that's 15 fruits \u2014 \u201cnice!\u201d", "Die gro\u00dfe Stra\u00dfe f\u00fchrt nach M\u00fcnchen.",
]
# Bytes that are no UTF-8: the reference gets them as Python reads them.
BROKEN = ["61ff62", "c3", "c3283f", "e282", "e28261", "f09f98", "f09f9861f09f9880", "eda080", "f4908080", "c0af", "80bf", "fe", "e4b8ade4b8", "20c3a9c3 c3a9".replace(" ", "")]


# --- The tokenizers --------------------------------------------------------------------------------------------------

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
METASPACE = "\u2581"


def byte_level_bpe(size, pre_tokenizer, special, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def gpt2():
    return byte_level_bpe(600, pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])


def llama3():
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated", False)
    tokenizer = byte_level_bpe(700, pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
                               [], ignore_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|endoftext|>"])
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def gpt4o():
    split = pre_tokenizers.Split(Regex(GPT4O), "removed", True)
    return byte_level_bpe(400, pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
                          ["<|endoftext|>"])


def smollm():
    return byte_level_bpe(500, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                          ["<|endoftext|>", "<s>", "</s>"])


def qwen2():
    tokenizer = byte_level_bpe(400, pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated", False),
                                                             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), [])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def roberta():
    tokenizer = byte_level_bpe(400, pre_tokenizers.ByteLevel(add_prefix_space=True), ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def llama2():
    characters = sorted({c for line in corpus() for c in line if ord(c) < 0x530 and c not in "\t "})
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(METASPACE), normalizers.Replace(" ", METASPACE)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(METASPACE, "merged_with_next")  # for the training alone
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=tokens, show_progress=False, initial_alphabet=characters, limit_alphabet=len(characters) + 1)
    tokenizer.train_from_iterator(corpus(), trainer)
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]
    file["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.decoder = decoders.Sequence([decoders.Replace(METASPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer


def llama2_first():
    """As newer conversions write it: Metaspace before the first piece only, not split."""
    file = json.loads(llama2().to_str())
    file["model"]["byte_fallback"] = False
    file["model"]["fuse_unk"] = False
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(METASPACE, "first", False)
    tokenizer.decoder = decoders.Metaspace(METASPACE, "first", False)
    return tokenizer


def normalization_rules():
    """SentencePiece's own (NFKC, some controls to spaces) for the characters used here: all of them are 240 KB."""
    rules = {"\t": " ", "\n": " ", "\r": " ", "\x07": "", "\x1b": "", "\u200b": " ", "\u2028": " ", "\u2029": " ", "\ufeff": " ", "\u00ad": ""}
    text = "".join(TEXTS + OTHER).replace("\0", "")
    for i in range(len(text)):
        for size in (1, 2, 3):
            key = text[i:i + size]
            normal = unicodedata.normalize("NFKC", key)
            parts = "".join(unicodedata.normalize("NFKC", c) for c in key)
            if normal != key and (size == 1 or normal != parts):
                rules[key] = normal
    line = lambda value: " ".join(f"{ord(c):X}" for c in value)
    return "".join(f"{line(key)}\t{line(value)}\n" for key, value in sorted(rules.items()))


def sentencepiece_model():
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(normalization_rules())
        rules.flush()
        train_sentencepiece(out, rules.name)
    return out.getvalue()


def train_sentencepiece(out, rules):
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=out, vocab_size=650, model_type="unigram",
                                             pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=0.999, num_threads=1, minloglevel=2,
                                             normalization_rule_tsv=rules)


def protobuf_fields(data):
    """(number, value) of each field: an int, or bytes."""
    def varint(i):
        value = shift = 0
        while True:
            value |= (data[i] & 127) << shift
            shift += 7
            i += 1
            if data[i - 1] < 128:
                return value, i
    i = 0
    while i < len(data):
        key, i = varint(i)
        if key & 7 == 0:
            value, i = varint(i)
        elif key & 7 == 2:
            size, i = varint(i)
            value, i = data[i:i + size], i + size
        else:
            size = 8 if key & 7 == 1 else 4
            value, i = data[i:i + size], i + size
        yield key >> 3, value


def charsmap(model):
    specification = next(value for number, value in protobuf_fields(model) if number == 3)
    return next(value for number, value in protobuf_fields(specification) if number == 2)


def t5(model, newer=True, byte_fallback=False):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    pieces += [(f"<extra_id_{i}>", 0.0) for i in range(9, -1, -1)]
    tokenizer = Tokenizer(models.Unigram(pieces, 2, byte_fallback))
    precompiled = normalizers.Precompiled(charsmap(model))
    if newer:
        tokenizer.normalizer = normalizers.Sequence([precompiled, normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), METASPACE)])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(METASPACE, "always", True)
    else:
        tokenizer.normalizer = precompiled
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(METASPACE, "always", True)])
    tokenizer.decoder = decoders.Metaspace(METASPACE, "always", True)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"] + [f"<extra_id_{i}>" for i in range(10)])
    return tokenizer


def variants():
    """What the families above do not use, each with a small vocabulary."""
    def plain(pre_tokenizer, normalizer=None, decoder=None, size=280):
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        characters = sorted({c for line in corpus() for c in line if ord(c) < 0x500} | {METASPACE})
        tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=["[UNK]"], show_progress=False,
                                                                    initial_alphabet=characters, limit_alphabet=len(characters)))
        tokenizer.pre_tokenizer = pre_tokenizer
        if normalizer:
            tokenizer.normalizer = normalizer
        if decoder:
            tokenizer.decoder = decoder
        return tokenizer

    split = lambda pattern, behavior, invert=False: pre_tokenizers.Split(pattern, behavior, invert)
    yield "nfkc", plain(pre_tokenizers.WhitespaceSplit(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]))
    yield "nfd", plain(pre_tokenizers.Whitespace(), normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()]))
    yield "nfkd", plain(pre_tokenizers.Punctuation("merged_with_previous"), normalizers.Sequence([normalizers.NFKD(), normalizers.Strip(left=True, right=False)]))
    yield "contiguous", plain(pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits()]))
    yield "next", plain(pre_tokenizers.Sequence([split(" ", "merged_with_next"), split(Regex(r"\d"), "merged_with_previous"), split(Regex(r"[\w]+"), "contiguous", True)]))
    yield "previous", plain(pre_tokenizers.Sequence([split(" ", "merged_with_previous"), split(Regex(r"\p{Han}|\p{Lu}"), "merged_with_next"), split(Regex(r"[aeiou]|(?=x)"), "removed")]))
    # Added tokens of every kind, with a normalizer that changes some of them.
    tokenizer = plain(pre_tokenizers.Metaspace(METASPACE, "first", True), normalizers.Lowercase(), decoders.Metaspace(METASPACE, "first", True))
    tokenizer.add_tokens([AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False), AddedToken("<left>", lstrip=True, normalized=False),
                          AddedToken("<right>", rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=True),
                          AddedToken("NORMAL", normalized=True), AddedToken("apples for", normalized=True), AddedToken("apples", normalized=True),
                          AddedToken("\u4e16\u754c", normalized=False), AddedToken("Caf", normalized=False, single_word=True)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("<|endoftext|>", normalized=True)])
    yield "added", tokenizer


def hand_made():
    """What no training brings about: rules of the models that decide between ways to cut a word. With further texts."""
    file = json.loads(llama2().to_str())
    file["model"]["byte_fallback"] = False  # so that a run of unknown characters stays, as one token
    yield "fused", Tokenizer.from_str(json.dumps(file)), []
    # Words that are tokens and that no merge makes.
    file = json.loads(llama3().to_str())
    file["added_tokens"], file["post_processor"] = [], None
    vocabulary = file["model"]["vocab"]
    vocabulary |= {word: len(vocabulary) + i for i, word in enumerate(["\u0120CamelCaseWord", "\u0120antidisestablishmentarianism", "theinofthat", "\u0120unmade"])}
    yield "whole_words", Tokenizer.from_str(json.dumps(file)), [" unmade", " unmade words", "unmade", "theinofthat theinofthat"]
    # Equal sums of scores, sums that float rounds to equal ones, and unknown characters that are parts of tokens.
    generator = random.Random(3)
    score = lambda: round(generator.uniform(-9, -2), 4)
    pieces = [("<unk>", 0.0), (METASPACE, -2.1)] + [(piece, score()) for piece in ["a", "b", "#", "aa", "ab", "ba", "aab", "aaa", "##", "###", "a#", "#a"]]
    pieces += [("xy", -20.0), ("yz", -1.0), ("z", -8.0), ("y", -3.0), ("zz", -16.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(METASPACE, "always", True)
    tokenizer.decoder = decoders.Metaspace(METASPACE, "always", True)
    random_text = lambda letters: "".join(generator.choice(letters) for _ in range(generator.randint(2, 40)))
    yield "ties", tokenizer, ["xyz", "xyz yzx xxyz xyyz", "zz", "####", "#####", "aaaa"] + [random_text(letters) for letters in ("a", "#", "ab", "a#", "xyz", "aab##xyz ") * 8]


# --- What the reference says -----------------------------------------------------------------------------------------

def fnv(ids):
    """FNV-1a, 64 bits, of the ids as 32-bit little-endian words."""
    value = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        value = ((value ^ byte) * 0x100000001B3) & (2 ** 64 - 1)
    return value


def expectations(encode, decode, size, more=()):
    cases = []
    for text, broken in [(t, None) for t in [*TEXTS, *more]] + [(bytes.fromhex(b).decode("utf-8", "replace"), b) for b in BROKEN]:
        ids = encode(text)
        case = {"bytes": broken} if broken else {"text": text}
        case["ids"] = ids
        for key, skip in (("decoded", True), ("all", False)):
            result = decode(ids, skip)
            if result != text:
                case[key] = result
        cases.append(case)
    generator = random.Random(7)
    random_ids = [[generator.randrange(size) for _ in range(generator.randint(1, 12))] for _ in range(30)]
    return {"encode": cases, "decode": [{"ids": ids, "decoded": decode(ids, True), "all": decode(ids, False)} for ids in random_ids]}


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")), encoding="ascii")


def write_fixture(name, tokenizer, files=None, more=()):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    if files is None:
        (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    else:
        for file, content in files.items():
            (folder / file).write_bytes(content)
    write(folder / "expected.json", expectations(lambda text: tokenizer.encode(text).ids,
                                                 lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip), tokenizer.get_vocab_size(), more))


BLOCK = 10  # lines a digest
SOURCES = [["tinyshakespeare/input.txt", 400], ["multi30k_en_de/train.en", 200], ["multi30k_en_de/train.de", 400], ["wmt_en_de/opennmt_src-train.txt", 400],
           ["wmt_en_de/opennmt_tgt-train.txt", 400], ["dolly/test_500.jsonl", 200], ["gsm8k/test.jsonl", 400]]


def write_real_lines(data, tokenizers):
    lines = []
    for file, count in SOURCES:
        lines += (data / file).read_bytes().split(b"\n")[:count]
    assert len(lines) == 2400
    lines = [line.decode("utf-8", "replace") for line in lines]
    digests = {}
    for name, encode in tokenizers.items():
        ids = [encode(line) for line in lines]
        digests[name] = [f"{fnv(sum(ids[i:i + BLOCK], [])):016x}" for i in range(0, len(ids), BLOCK)]
    write(HERE / "real_lines.json", {"sources": SOURCES, "block": BLOCK, "digests": digests})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path)
    options = parser.parse_args()

    made = {"llama3": llama3(), "gpt4o": gpt4o(), "smollm": smollm(), "qwen2": qwen2(), "roberta": roberta(), "llama2": llama2(), "llama2_first": llama2_first()}
    model = sentencepiece_model()
    made |= {"t5": t5(model), "t5_older": t5(model, newer=False)}
    made |= dict(variants())
    for name, tokenizer in made.items():
        write_fixture(name, tokenizer)
    for name, tokenizer, more in hand_made():
        write_fixture(name, tokenizer, more=more)

    tokenizer = made["gpt2"] = gpt2()
    file = json.loads(tokenizer.to_str())
    write_fixture("gpt2", tokenizer, {
        "vocab.json": json.dumps(file["model"]["vocab"], ensure_ascii=False, separators=(",", ":")).encode(),
        "merges.txt": ("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in file["model"]["merges"])).encode(),
        "tokenizer_config.json": json.dumps({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "tokenizer_class": "GPT2Tokenizer"}).encode()})

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    (HERE / "sentencepiece").mkdir(exist_ok=True)
    (HERE / "sentencepiece" / "spiece.model").write_bytes(model)
    # Runs of equal characters have cuts of equal scores; which is taken has depended on the library's version.
    generator = random.Random(9)
    runs = ["".join(generator.choice(letters) for _ in range(generator.randint(20, 120))) for letters in ("aab", "ab ", "xyz", "the", "0#", "ee- ") * 6]
    write(HERE / "sentencepiece" / "expected.json",
          expectations(lambda text: processor.encode(text) + [1], lambda ids, skip: processor.decode(ids), processor.get_piece_size(), runs))

    if options.data:
        reals = {name: (lambda text, t=made[name]: t.encode(text).ids) for name in ("llama3", "smollm", "llama2", "t5", "t5_older")}
        real = Tokenizer(models.BPE.from_file(str(options.data / "gpt2_tokenizer/vocab.json"), str(options.data / "gpt2_tokenizer/merges.txt")))
        real.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        reals["data/gpt2_tokenizer"] = lambda text: real.encode(text).ids
        large = sentencepiece.SentencePieceProcessor(model_file=str(options.data / "t5_style_tokenizer/made_here_unigram_8000.model"))
        reals["data/t5_style_tokenizer/made_here_unigram_8000.model"] = lambda text: large.encode(text) + [1]
        write_real_lines(options.data, reals)


if __name__ == "__main__":
    main()
