"""The papers behind the recipes and the networks, as BibTeX; what could not be confirmed is left out.

A recipe names its paper by key (`Recipe.paper`); `egokeras describe RECIPE --bibtex` prints the entry, and CITATION.cff has them all.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """What is known of one publication.

    Attributes:
        authors: (family name, given names) of each; a name alone stands for an account or a group.
        title: as published.
        year: of publication, or None.
        conference, journal: where it appeared; neither for a preprint or a repository.
        pages: first and last, with a hyphen between them.
        arxiv: its number there.
        url: of what is not on arXiv.
    """

    authors: tuple[tuple[str, ...], ...]
    title: str
    year: int | None = None
    conference: str = ""
    journal: str = ""
    pages: str = ""
    arxiv: str = ""
    url: str = ""

    @property
    def name(self):
        """Authors and year as a text cites them: `Furnari and Farinella, 2019`."""
        first, *others = (author[0] for author in self.authors)
        who = f"{first} et al." if len(others) > 1 else " and ".join([first, *others])
        return f"{who}, {self.year}" if self.year else who


CVPR = "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)"

PAPERS = {
    # the four systems
    "egocentric_report": Paper(
        authors=(("bguetarni",),),
        title="Egocentric-activity-recognition",
        url="https://github.com/bguetarni/Egocentric-activity-recognition",
    ),
    "camporese2020": Paper(
        authors=(
            ("Camporese", "Guglielmo"),
            ("Coscia", "Pasquale"),
            ("Furnari", "Antonino"),
            ("Farinella", "Giovanni Maria"),
            ("Ballan", "Lamberto"),
        ),
        title="Knowledge Distillation for Action Anticipation via Label Smoothing",
        year=2020,
        conference="International Conference on Pattern Recognition (ICPR)",
        arxiv="2004.07711",
    ),
    "vu2022": Paper(
        authors=(("Vu", "Duc-Quang"), ("Phung", "Thi-Thu-Trang"), ("Wang", "Jia-Ching")),
        title="A Novel Self-Knowledge Distillation Approach with Siamese Representation Learning for Action Recognition",
        year=2022,
        arxiv="2209.01311",
    ),
    "soufleri2024": Paper(
        authors=(("Soufleri", "Efstathia"), ("Ravikumar", "Deepak"), ("Roy", "Kaushik")),
        title="Advancing Compressed Video Action Recognition through Progressive Knowledge Distillation",
        year=2024,
        arxiv="2407.02713",
    ),
    # what they build on
    "furnari2019": Paper(
        authors=(("Furnari", "Antonino"), ("Farinella", "Giovanni Maria")),
        title="What Would You Expect? Anticipating Egocentric Actions with Rolling-Unrolling LSTMs and Modality Attention",
        year=2019,
        conference="IEEE International Conference on Computer Vision (ICCV)",
        arxiv="1905.09035",
    ),
    "vu2021": Paper(
        authors=(("Vu", "Duc-Quang"), ("Le", "Ngan"), ("Wang", "Jia-Ching")),
        title="Teaching Yourself: A Self-Knowledge Distillation Approach to Action Recognition",
        year=2021,
        journal="IEEE Access",
    ),
    "sandler2018": Paper(
        authors=(("Sandler", "Mark"), ("Howard", "Andrew"), ("Zhu", "Menglong"), ("Zhmoginov", "Andrey"), ("Chen", "Liang-Chieh")),
        title="MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        year=2018,
        conference=CVPR,
        pages="4510-4520",
    ),
    "shi2015": Paper(
        authors=(("Shi", "X."), ("Chen", "Z."), ("Wang", "H."), ("Yeung", "D.-Y."), ("Wong", "W.-K."), ("Woo", "W.-c.")),
        title="Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting",
        year=2015,
        arxiv="1506.04214",
    ),
    "hara2018": Paper(
        authors=(("Hara", "Kensho"), ("Kataoka", "Hirokatsu"), ("Satoh", "Yutaka")),
        title="Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?",
        year=2018,
        conference=CVPR,
        pages="6546-6555",
        arxiv="1711.09577",
    ),
    "wu2018": Paper(
        authors=(
            ("Wu", "Chao-Yuan"),
            ("Zaheer", "Manzil"),
            ("Hu", "Hexiang"),
            ("Manmatha", "R."),
            ("Smola", "Alexander J."),
            ("Krähenbühl", "Philipp"),
        ),
        title="Compressed Video Action Recognition",
        year=2018,
        conference=CVPR,
        arxiv="1712.00636",
    ),
    "wang2016": Paper(
        authors=(
            ("Wang", "Limin"),
            ("Xiong", "Yuanjun"),
            ("Wang", "Zhe"),
            ("Qiao", "Yu"),
            ("Lin", "Dahua"),
            ("Tang", "Xiaoou"),
            ("Van Gool", "Luc"),
        ),
        title="Temporal Segment Networks: Towards Good Practices for Deep Action Recognition",
        year=2016,
        conference="European Conference on Computer Vision (ECCV)",
        arxiv="1608.00859",
    ),
    "chen2021": Paper(
        authors=(("Chen", "Xinlei"), ("He", "Kaiming")),
        title="Exploring Simple Siamese Representation Learning",
        year=2021,
        conference=CVPR,
        pages="15750-15758",
        arxiv="2011.10566",
    ),
}


def bibtex(key):
    """The BibTeX entry of one of PAPERS."""
    paper = PAPERS[key]
    kind = "inproceedings" if paper.conference else "article" if paper.journal else "misc"
    fields = {
        "author": " and ".join(", ".join(author) for author in paper.authors),
        "title": f"{{{paper.title}}}",
        "booktitle": paper.conference,
        "journal": paper.journal,
        "pages": paper.pages.replace("-", "--"),
        "year": paper.year,
        "eprint": paper.arxiv,
        "archiveprefix": paper.arxiv and "arXiv",
        "url": paper.url,
    }
    return "\n".join([f"@{kind}{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items() if value), "}"])
