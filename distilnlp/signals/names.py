"""Every column of a data set, and every entry of a batch, that this package gives a name to."""

from distilnlp.signals.modality import TOKENS

# ---- Normalised rows: what a recipe's data becomes ----

TEXT, TEXT_PAIR, LABEL = "text", "text_pair", "label"
WORDS = "words"
QUESTION, CONTEXT = "question", "context"
CHOICES = "choices"
TEACHER_TEXT, TEACHER_TEXT_PAIR = "teacher_text", "teacher_text_pair"  # what it reads instead of the student's
ANSWER = "given_answer"  # what a teacher that is not a model says of the row
SOURCE_ROW = "source_row"  # the number, in the source, of a row that has an answer
FOLD = "fold"  # the number of the teacher that may answer the row
NO_FOLD = -1  # every teacher may

# ---- Labels ----

NO_LABEL = -100
LABEL_COLUMNS = ("label", "labels", "label_ids")
# The entries of a batch that hold labels. No model gets them: the objective computes the losses.
LABEL_INPUTS = ("labels", "start_positions", "end_positions")

# ---- Tokenised rows ----

WORD_IDS = "word_ids"  # the number of the word that each piece belongs to, -1 = none
EXAMPLE = "example"
OFFSETS = "offsets"
START, END = "start_positions", "end_positions"
MARKS = ("word_starts", "context_mask")
MODEL_INPUTS = (*TOKENS.inputs, *MARKS, OFFSETS, WORD_IDS, FOLD)

# ---- Several encodings of one row, by prefix ----

TEACHER = "teacher_"
MEMBER = "member_"  # how the columns of an ensemble's further members begin

# ---- Batches ----

GIVEN_LOGITS = "given_logits"  # the answers of a teacher that is not a model
REPEATED = "is_repeated"  # what has no row of its own, bool [rows]
