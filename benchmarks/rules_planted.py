"""For each instruction type of IFEval, from its kwargs: a response written to follow it, and one to break it."""

from collections.abc import Callable

SENTENCE = "The river runs down to the sea and the wind moves over the water."
# Article 1 of the Universal Declaration of Human Rights, first sentence.
ARTICLE_1 = {
    "ar": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.",
    "bg": "Всички хора се раждат свободни и равни по достойнство и права.",
    "bn": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "en": "All human beings are born free and equal in dignity and rights.",
    "fa": "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند.",
    "fi": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.",
    "gu": "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
    "kn": "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ ಹಾಗೂ ಘನತೆ ಮತ್ತು ಹಕ್ಕುಗಳಲ್ಲಿ ಸಮಾನರಾಗಿದ್ದಾರೆ.",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "mr": "सर्व मानवी व्यक्ती जन्मतःच स्वतंत्र आहेत व त्यांना समान प्रतिष्ठा व समान अधिकार आहेत.",
    "ne": "सबै व्यक्तिहरू जन्मजात स्वतन्त्र हुन् ती सबैको समान अधिकार र महत्व छ।",
    "pa": "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.",
    "ta": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும் உரிமைகளிலும் சமமானவர்கள்.",
    "te": "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "ur": "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
}


def _counted(make: Callable[[int], str], relation: str, number: int) -> tuple[str, str]:
    """Texts with a count just on the right and just on the wrong side."""
    enough, short = make(number), make(max(0, number - 1))
    return (enough, short) if relation == "at least" else (short, enough)


def _highlights(n: int) -> str:
    return SENTENCE + "".join(f" *part {i}*" for i in range(n))


def _sections(splitter: str, n: int) -> str:
    return "\n\n".join(f"{splitter} {i + 1}\n{SENTENCE}" for i in range(n)) or SENTENCE


def _nth(number: int, nth: int, word: str) -> tuple[str, str]:
    blocks = [SENTENCE] * number
    right = "\n\n".join([*blocks[: nth - 1], f"{word} and then. {SENTENCE}", *blocks[nth:]])
    return right, right + "\n\n" + SENTENCE


FOLLOWED: dict[str, Callable[..., tuple[str, str]]] = {
    "keywords:existence": lambda keywords: (
        f"{SENTENCE} " + " ".join(keywords).upper(),
        f"{SENTENCE} " + " ".join(keywords[1:]).replace(keywords[0], ""),
    ),
    "keywords:frequency": lambda keyword, frequency, relation: _counted(
        lambda n: "Zz. " + f"{keyword}; " * n, relation, frequency
    ),
    "keywords:forbidden_words": lambda forbidden_words: (
        "Zz " + " ".join(f"x{word}x" for word in forbidden_words),
        f"Zz {forbidden_words[-1].upper()}.",
    ),
    "keywords:letter_frequency": lambda letter, let_frequency, let_relation: _counted(
        lambda n: "0 " + letter.upper() * n, let_relation, let_frequency
    ),
    "language:response_language": lambda language: (
        " ".join([ARTICLE_1[language]] * 3),
        " ".join([ARTICLE_1["it" if language == "en" else "en"]] * 3),
    ),
    "length_constraints:number_sentences": lambda num_sentences, relation: _counted(
        lambda n: " ".join([SENTENCE] * n) or "...", relation, num_sentences
    ),
    "length_constraints:number_paragraphs": lambda num_paragraphs: (
        "\n\n***\n\n".join([SENTENCE] * num_paragraphs),
        "\n\n***\n\n".join([SENTENCE] * (num_paragraphs + 1)),
    ),
    "length_constraints:number_words": lambda num_words, relation: _counted(
        lambda n: "word " * n or "...", relation, num_words
    ),
    "length_constraints:nth_paragraph_first_word": lambda num_paragraphs, nth_paragraph, first_word: _nth(
        num_paragraphs, nth_paragraph, first_word
    ),
    "detectable_content:number_placeholders": lambda num_placeholders: _counted(
        lambda n: "Dear you, " + "[name] " * n, "at least", num_placeholders
    ),
    "detectable_content:postscript": lambda postscript_marker: (
        f"{SENTENCE}\n\n{postscript_marker} Write soon.",
        f"{SENTENCE}\n\n{postscript_marker}",
    ),
    "detectable_format:number_bullet_lists": lambda num_bullets: (
        "List:\n" + "* point\n" * num_bullets,
        "List:\n" + "* point\n" * num_bullets + "- more",
    ),
    "detectable_format:constrained_response": lambda: ("My answer is no. Sorry.", "My answer is no, sorry."),
    "detectable_format:number_highlighted_sections": lambda num_highlights: (
        _highlights(num_highlights),
        _highlights(num_highlights - 1) + "\n* a bullet * with a star",
    ),
    "detectable_format:multiple_sections": lambda section_spliter, num_sections: (
        _sections(section_spliter, num_sections),
        _sections(section_spliter, num_sections - 1),
    ),
    "detectable_format:json_format": lambda: ('```json\n{"name": ["a", 1]}\n```', '{"name": ["a", 1]'),
    "detectable_format:title": lambda: (f"<<Poem of Joy>>\n{SENTENCE}", f"<Poem of Joy>\n{SENTENCE}"),
    "combination:two_responses": lambda: ("One.\n******\nTwo.", "One.\n******\nOne."),
    "combination:repeat_prompt": lambda prompt_to_repeat: (
        f"{prompt_to_repeat}\n\n{SENTENCE}",
        f"{SENTENCE}\n\n{prompt_to_repeat}",
    ),
    "startend:end_checker": lambda end_phrase: (f"{SENTENCE} {end_phrase}", f"{end_phrase} {SENTENCE}"),
    "startend:quotation": lambda: (f'"{SENTENCE}"', f'"{SENTENCE}'),
    "change_case:capital_word_frequency": lambda capital_relation, capital_frequency: _counted(
        lambda n: "word " + "WORD " * n, capital_relation, capital_frequency
    ),
    "change_case:english_capital": lambda: (SENTENCE.upper(), SENTENCE),
    "change_case:english_lowercase": lambda: (SENTENCE.lower(), SENTENCE),
    "punctuation:no_comma": lambda: (SENTENCE, f"{SENTENCE}, then"),
}
