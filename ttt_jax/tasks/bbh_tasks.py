"""The 27 tasks of BIG-Bench Hard (arXiv 2210.09261): how each is introduced, and what counts as its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ttt_jax.tasks import bbh_answers as answers


@dataclass(frozen=True)
class TaskText:
    """What is said about a task.

    Attributes:
      description: of the task, one sentence.
      answer_format: how to answer, one sentence.
      read: the answer that the first line of a completion begins with, as the truths are written; None for none.
    """

    description: str
    answer_format: str
    read: Callable[[str], str | None]


def _choice(description: str, read: Callable[[str], str | None] = answers.letter) -> TaskText:
    return TaskText(description, "Answer with the letter of one option, in parentheses, as in (A).", read)


def _words(description: str, first: str, second: str) -> TaskText:
    return TaskText(description, f"Answer with one word, {first} or {second}.", answers.one_of(first, second))


_DEDUCTION = _choice("Find out in which order some objects stand from clues about their places.")
_TRACKING = _choice("Follow a series of swaps between people and say who or what ends up where.")

TASKS: dict[str, TaskText] = {
    "boolean_expressions": _words("Work out the truth value of a Boolean expression.", "True", "False"),
    "causal_judgement": _words(
        "Read a story and say how a typical person would judge what caused what, or who meant to.", "Yes", "No"
    ),
    "date_understanding": _choice("Work out a date from what is told about other dates."),
    "disambiguation_qa": _choice("Say whom or what a pronoun in a sentence refers to, or that it is ambiguous."),
    "dyck_languages": TaskText(
        "Close all brackets that a sequence leaves open, in the right order.",
        "Answer with the missing closing brackets only, with spaces between them.",
        answers.brackets,
    ),
    "formal_fallacies": _words(
        "Decide whether an argument follows by logic from its stated premises.", "valid", "invalid"
    ),
    "geometric_shapes": _choice("Name the shape that an SVG path draws."),
    "hyperbaton": _choice("Choose the sentence whose adjectives stand in the usual English order."),
    "logical_deduction_five_objects": _DEDUCTION,
    "logical_deduction_seven_objects": _DEDUCTION,
    "logical_deduction_three_objects": _DEDUCTION,
    "movie_recommendation": _choice("Choose the film that is most like the films in a list.", answers.letter_or_text),
    "multistep_arithmetic_two": TaskText(
        "Work out the value of an arithmetic expression.", "Answer with one integer.", answers.number
    ),
    "navigate": _words("Say whether a series of steps leads back to where it began.", "Yes", "No"),
    "object_counting": TaskText(
        "Count the things of one kind in a list of possessions.", "Answer with one integer.", answers.number
    ),
    "penguins_in_a_table": _choice("Answer a question about a table of animals."),
    "reasoning_about_colored_objects": _choice("Answer a question about the colours and places of some objects."),
    "ruin_names": _choice("Choose the edit of an artist's or a film's name that is funny.", answers.letter_or_text),
    "salient_translation_error_detection": _choice("Say which kind of error a translation from German contains."),
    "snarks": _choice("Choose the sarcastic one of two nearly equal statements."),
    "sports_understanding": _words("Say whether a made-up sentence about sports is plausible.", "yes", "no"),
    "temporal_sequences": _choice("Work out when somebody was free to go somewhere, from where they were seen."),
    "tracking_shuffled_objects_five_objects": _TRACKING,
    "tracking_shuffled_objects_seven_objects": _TRACKING,
    "tracking_shuffled_objects_three_objects": _TRACKING,
    "web_of_lies": _words("Find out whether the last person tells the truth, from who says what of whom.", "Yes", "No"),
    "word_sorting": TaskText(
        "Sort words into alphabetical order.",
        "Answer with the words in order, with spaces between them.",
        answers.words,
    ),
}
