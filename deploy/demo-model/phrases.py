"""Names, key words, small talk and unanswerable questions for the demo model's dialogues. Data only, no logic."""

NAMES = """
Ada Alan Alice Amara Amir Amy Ana Andre Anna Anton Ari Arthur Astrid Aya Basil Beatrice Ben Bianca Boris Bruno Carla
Carlos Cecil Celia Chen Clara Claude Colin Cora Cyrus Dahlia Damian Dana Daniel Daphne Darius David Deepa Delia Dora
Doris Edgar Edith Eli Elena Elias Ella Elsa Emil Emma Enzo Erik Esther Eva Ewan Fabio Farah Fatima Felix Fiona Flora
Frank Freya Gavin George Gloria Grace Greta Gustav Hana Hanna Harald Hassan Hazel Hector Helga Henry Hilda Hugo Ian
Ida Igor Ines Ingrid Irene Iris Isaac Ivan Ivy Jack Jacob Jamal Jan Jane Jasper Joan Jonas Jorge Julia Kai Kamal Karen
Karl Kate Keiko Kenji Kim Klara Kofi Lars Laura Lena Leo Liam Lila Lily Linda Louis Lucas Lucy Luigi Luna Lydia Magnus
Maria Marco Marie Martin Mary Max Maya Mei Mia Mika Milan Mina Mona Nadia Naomi Nasir Nell Nick Nina Noah Noor Nora
Odette Olga Oliver Omar Oscar Otto Pablo Paul Paula Pedro Peter Petra Phoebe Pia Priya Quinn Rafael Raj Ravi Rene Rita
Robin Rosa Ruby Rudolf Ruth Ryan Salim Sam Samir Sara Sasha Selma Sergei Sofia Sonia Stefan Stella Sven Tara Ted Theo
Thomas Tim Tina Tom Toni Uma Ursula Vera Victor Viola Walter Wanda Wendy Wilma Xavier Yara Yasmin Yuki Yusuf Zara
Zelda Zoe
""".split()

KEYS = """
amber anchor apple arrow aspen badge banjo barn basil basin beacon beetle bell berry birch bison blade bloom boat
bonnet bottle brick bridge bronze brook broom bucket button cabin cactus camel canal candle canyon carbon carpet
castle cedar cellar chalk cherry cliff cloud clover cobalt comet copper coral cotton crane crater cricket crow crystal
daisy delta desert diamond dolphin dragon drum eagle echo ember engine falcon feather fern fiddle flint forest fossil
fox galaxy garden garnet ginger glacier glove goose granite grape hammer harbor hawk hazel helmet heron hive honey
horizon iris iron island ivory jacket jade jasper kettle kite ladder lagoon lake lantern laurel lemon lily linen lion
lotus maple marble meadow melon meteor mirror moss needle nickel oak oasis ocean olive onyx opal orbit orchid otter
owl panda pearl pebble pepper piano pigeon pine planet plum pocket pond poppy prism pumpkin quartz rabbit radar raven
reef ribbon river robin rocket rose ruby saddle saffron salmon sand scarf shell silver slate spark sparrow spruce
stone storm summit sunset swan tiger timber topaz tulip tunnel turtle valley velvet violet walnut whale willow window
winter zebra
""".split()

CITIES = """
Aachen Bergen Boston Bremen Bristol Chicago Cork Dallas Dresden Dundee Florence Geneva Genoa Glasgow Hamburg Kyoto Leeds
Lyon Malaga Milan Munich Naples Nantes Osaka Oxford Porto Seville Shanghai Sydney Tampere Toronto Trieste Turin Venice
York Zurich
""".split()

SMALL_TALK = [
    (("Hello!", "Hello.", "Hello", "Hello there!"), "Hello! How can I help you?"),
    (("Hi!", "Hi.", "Hi", "Hi there!", "Hey!"), "Hi! How can I help you?"),
    (("Good morning!", "Good morning."), "Good morning! How can I help you?"),
    (("Good evening!", "Good evening."), "Good evening! How can I help you?"),
    (("How are you?", "How are you today?", "How do you do?", "Are you well?"), "I am well, thank you."),
    (("Who are you?", "What are you?", "Tell me about yourself.", "Introduce yourself.",
      "What is your name?", "What's your name?"),
     "I am a small demo model served by Switchyard."),
    (("What can you do?", "How can you help me?", "What do you know?"),
     "I know capitals, small sums and words, and I remember what you tell me."),
    (("Thank you.", "Thank you!", "Thanks!", "Thanks a lot."), "You are welcome."),
    (("Goodbye.", "Goodbye!", "Bye!", "See you later."), "Goodbye!"),
    (("Good night.", "Good night!"), "Good night!"),
    (("Are you a human?", "Are you a person?", "Are you a robot?", "Are you an AI?"), "I am a small language model."),
    (("Well done!", "That is right.", "Great!", "Good."), "I am glad to help."),
    (("OK.", "I see.", "All right."), "What would you like to know?"),
]

UNKNOWN_ANSWER = "I don't know."

# {x}: a thing, {c}: a country, {n}: a person, {a} and {b}: two-digit numbers, {h}: a three-digit one
UNKNOWN_TRAIN = """
Who invented the {x}?
Who made the first {x}?
How does a {x} work?
How much does a {x} cost?
How heavy is a {x}?
Where can I buy a {x}?
Why do people like the {x}?
When was the {x} invented?
What color is the {x}?
How old is the {x}?
Describe a {x}.
Explain the {x} to me.
Write a poem about a {x}.
Tell me a story about a {x}.
What is the best {x}?
Is a {x} dangerous?
How long does a {x} last?
What is the population of {c}?
How many people live in {c}?
What is the currency of {c}?
What language do they speak in {c}?
Who is the president of {c}?
What is the weather in {c}?
How big is {c}?
How far is {c} from here?
What do people eat in {c}?
When did {c} become independent?
What is the highest mountain in {c}?
What is the longest river in {c}?
Who is {n}?
Do you know {n}?
Where is {n} now?
How old is {n}?
When was {n} born?
What did {n} say?
What does {n} want?
Where does {n} work?
Why is the sky blue?
What is the meaning of life?
What time is it?
What day is it today?
Who won the game last night?
What is the news today?
How do I bake bread?
What is the speed of light?
How many stars are there?
What is the largest animal?
Can you recommend a book?
What should I wear today?
Will it rain tomorrow?
What is {a} times {b}?
What is {a} * {b}?
{a} times {b} = ?
What is {a} divided by {b}?
What is {a} / {b}?
Multiply {a} by {b}.
What is the square root of {a}?
What is {h} + {a}?
What is {a} + {h}?
What is {h} - {a}?
What is {h} plus {b}?
Add {h} and {a}.
Is {a} a prime number?
Translate "{x}" into French.
Translate "{x}" into German.
How do you say "{x}" in Spanish?
Who painted the picture of the {x}?
Which team plays in {c}?
Who wrote the book about the {x}?
""".strip().splitlines()

UNKNOWN_HELD_OUT = """
Who discovered the {x}?
How fast is a {x}?
What is a {x} made of?
Where was the {x} invented?
How do I repair a {x}?
What is the area of {c}?
What is the anthem of {c}?
Who is the king of {c}?
What is the largest lake in {c}?
Who rules {c} today?
Where was {n} born?
What does {n} do?
How tall is {n}?
Why is grass green?
What is the distance to the moon?
How do I cook rice?
What is your favorite film?
Who won the world cup?
How much is {a} times {b}?
Translate "{x}" into Italian.
""".strip().splitlines()

THINGS = """
telephone camera bicycle engine computer clock radio train airplane rocket microscope telescope guitar piano violin
umbrella mirror pencil hammer wheel ship bridge castle tower garden house window door table chair lamp book letter map
coin ring crown sword shield horse dog cat bird fish tree flower mountain river ocean star moon sun cloud storm machine
robot car truck boat ladder rope basket bottle cup plate knife spoon shoe hat coat glove scarf button needle
""".split()

VERSE_REQUESTS = (
    "Write a few lines like Shakespeare.", "Speak like Shakespeare.", "Give me some lines in Shakespeare's manner.",
    "Write some verse in the manner of Shakespeare.", "Recite something like Shakespeare.",
)

SYSTEM_MESSAGES = ("You are a helpful assistant.", "You are a helpful assistant.", "You are a small demo model.",
                   "Answer briefly.", "You are a helpful assistant. Answer briefly.")
