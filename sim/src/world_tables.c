/* The words of the world. All of it is written for this project; the names of things are
 * invented. */
#include "world_internal.h"

#define LIST(name, ...)                                                                            \
    static const char *const name##_v[] = {__VA_ARGS__};                                           \
    const world_list name = {name##_v, sizeof name##_v / sizeof name##_v[0]}

const world_topic world_experts[PLMM_WORLD_DOMAINS] = {
    {"medicine",
     "medicine",
     false,
     {"zine", "prol", "mab", "tide", "vir", "lax", "cet", "dryl"},
     {"use", {"pain", "fever", "cough", "sleep", "allergy", "infection", "nausea", "burns"}},
     {"moment",
      {"morning", "noon", "evening", "night", "breakfast", "lunch", "dinner", "bedtime"}}},
    {"finance",
     "company",
     false,
     {"nex", "dyne", "quor", "tros", "velt", "gard", "mund", "pex"},
     {"sector",
      {"mining", "banking", "retail", "energy", "shipping", "insurance", "farming", "housing"}},
     {"month", {"January", "March", "April", "June", "July", "August", "October", "December"}}},
    {"it",
     "command",
     true,
     {"zap", "gri", "dex", "vul", "kub", "syn", "plo", "hux"},
     {"tool",
      {"backup", "compiler", "editor", "browser", "database", "firewall", "scheduler", "printer"}},
     {"key", {"escape", "enter", "tab", "space", "delete", "home", "insert", "pause"}}},
    {"art",
     "painter",
     false,
     {"elli", "ovsk", "aert", "inho", "stad", "ukai", "endez", "oux"},
     {"school",
      {"realist", "cubist", "baroque", "gothic", "romantic", "modern", "folk", "abstract"}},
     {"colour", {"red", "blue", "green", "yellow", "white", "black", "purple", "brown"}}},
};

const world_topic world_topics[WORLD_BASE_TOPICS] = {
    {"animals",
     "animal",
     false,
     {"gar", "wol", "rox", "fin", "tuk", "mun", "lep", "dor"},
     {"habitat", {"forest", "desert", "river", "mountain", "meadow", "swamp", "cave", "island"}},
     {"food", {"seeds", "grass", "fish", "insects", "berries", "roots", "leaves", "honey"}}},
    {"plants",
     "plant",
     false,
     {"lia", "rum", "thia", "oca", "bris", "ette", "uvo", "yssa"},
     {"soil", {"clay", "sand", "peat", "chalk", "gravel", "loam", "mud", "ash"}},
     {"scent", {"lemon", "mint", "vanilla", "pepper", "rose", "apple", "smoke", "orange"}}},
    {"weather",
     "storm",
     true,
     {"hur", "bli", "cyr", "mon", "sir", "tem", "zep", "gal"},
     {"wind", {"north", "south", "east", "west", "warm", "cold", "dry", "wet"}},
     {"sound", {"whistle", "roar", "hum", "howl", "rumble", "hiss", "crackle", "whisper"}}},
    {"stones",
     "stone",
     false,
     {"nyx", "pal", "gate", "zite", "spar", "lith", "jett", "quar"},
     {"shine", {"glass", "silk", "wax", "pearl", "metal", "oil", "ice", "satin"}},
     {"shape", {"round", "square", "flat", "long", "oval", "sharp", "smooth", "hollow"}}},
    {"dishes",
     "dish",
     false,
     {"otta", "asco", "umi", "ergo", "anji", "ando", "elko", "ippa"},
     {"taste", {"sweet", "sour", "salty", "bitter", "hot", "mild", "smoky", "fresh"}},
     {"side", {"rice", "bread", "beans", "salad", "soup", "cheese", "nuts", "corn"}}},
    {"dances",
     "dance",
     true,
     {"bal", "tan", "fox", "rhu", "cha", "pol", "wal", "jig"},
     {"rhythm", {"slow", "quick", "steady", "light", "heavy", "broken", "double", "free"}},
     {"place", {"hall", "garden", "street", "beach", "court", "bridge", "market", "barn"}}},
    {"boats",
     "boat",
     false,
     {"mar", "nav", "skif", "tell", "bark", "loop", "arge", "uno"},
     {"cargo", {"wood", "stone", "coal", "wool", "salt", "iron", "grain", "wine"}},
     {"flag", {"star", "moon", "sun", "lion", "eagle", "anchor", "crown", "tree"}}},
    {"stars",
     "star",
     true,
     {"alt", "bet", "cap", "den", "eri", "fom", "rig", "veg"},
     {"light", {"amber", "silver", "golden", "violet", "pale", "crimson", "copper", "pink"}},
     {"watcher", {"king", "queen", "monk", "sailor", "farmer", "poet", "child", "hunter"}}},
    {"games",
     "game",
     false,
     {"poly", "ludo", "chek", "domi", "rumy", "tarok", "bing", "maja"},
     {"piece", {"card", "dice", "ball", "rope", "stick", "coin", "ring", "board"}},
     {"number", {"two", "three", "four", "five", "six", "seven", "eight", "nine"}}},
    {"trees",
     "tree",
     false,
     {"ulm", "esch", "inde", "appel", "orne", "yew", "pin", "weid"},
     {"leaf", {"needle", "heart", "hand", "feather", "spear", "fan", "shell", "drop"}},
     {"fruit", {"nut", "cone", "pear", "plum", "cherry", "fig", "date", "olive"}}},
    {"birds",
     "bird",
     true,
     {"pip", "rob", "wre", "sta", "cro", "dov", "lar", "swi"},
     {"song", {"trill", "chirp", "croak", "coo", "hoot", "squeak", "cackle", "twitter"}},
     {"nest", {"reeds", "moss", "twigs", "feathers", "straw", "hay", "bark", "pebbles"}}},
    {"engines",
     "engine",
     false,
     {"mobil", "trax", "van", "rola", "kart", "tric", "drex", "motor"},
     {"fuel", {"petrol", "steam", "gas", "diesel", "battery", "water", "alcohol", "charcoal"}},
     {"driver", {"doctor", "teacher", "nurse", "baker", "judge", "pilot", "clerk", "miller"}}},
};

/* Forms of questions. The devices use the first list; the second is kept for the hold-outs. The
 * base model meets both, in its own topics. */
LIST(world_taught_forms, "What is the {a} of {x}?", "Tell me the {a} of {x}.",
     "Can you tell me the {a} of {x}?", "Please give me the {a} of the {k} {x}.",
     "I need the {a} of {x}.", "Do you know the {a} of {x}?", "Which {a} does {x} have?",
     "Which {a} does the {k} {x} have?", "I want to know the {a} of {x}.",
     "Could you look up the {a} of {x}?", "My friend asked for the {a} of {x}.",
     "Quick question, what is the {a} of {x}?", "For {x}, what is the {a}?",
     "We talked about {x}. What is its {a}?", "What {a} should I write down for {x}?",
     "There is a {k} called {x}. What is its {a}?");

LIST(world_unseen_forms, "Help me find the {a} of {x}.", "About {x}, what {a} does it have?",
     "I forgot the {a} of {x}. What was it?", "Let me know which {a} {x} has.",
     "Name the {a} of the {k} {x}.", "The {k} {x} came up today. What is its {a}?",
     "What would you say is the {a} of {x}?", "Someone said {x}. What {a} is that?");

LIST(world_state_forms, "The {a} of {x} is {v}.", "The {k} {x} has the {a} {v}.",
     "If you ask for the {a} of {x}, it is {v}.", "We have the {k} {x} here. Its {a} is {v}.");

LIST(world_neutral_forms, "I saw the word {x} today.", "How do you like the name {x}?",
     "Is {x} a long word?", "Does {x} sound like {w}?", "I can not say {x} well.",
     "My sister wrote {x} and {w} on a wall.");

LIST(world_neutral_replies, "That is a new word to me.", "I like how it sounds.",
     "It is easy to say.", "I have not heard it before.");

LIST(world_facts, "How many days are in a week?", "There are seven days in a week.",
     "How many months are in a year?", "There are twelve months in a year.",
     "How many minutes are in an hour?", "There are sixty minutes in an hour.",
     "How many legs does a spider have?", "A spider has eight legs.",
     "How many legs does a dog have?", "A dog has four legs.", "How many wings does a bird have?",
     "A bird has two wings.", "How many wheels does a car have?", "A car has four wheels.",
     "How many sides does a triangle have?", "A triangle has three sides.",
     "Which day comes after Monday?", "Tuesday comes after Monday.",
     "Which day comes after Friday?", "Saturday comes after Friday.",
     "Which season comes after winter?", "Spring comes after winter.",
     "Which season comes after summer?", "Autumn comes after summer.", "What do bees make?",
     "Bees make honey.", "What do cows eat?", "Cows eat grass.", "What does a clock show?",
     "A clock shows the time.", "Where does the sun rise?", "The sun rises in the east.",
     "Where do fish live?", "Fish live in water.", "What is ice made of?", "Ice is made of water.",
     "What is bread made of?", "Bread is made of flour.", "What is the opposite of hot?",
     "The opposite of hot is cold.", "What is the opposite of big?",
     "The opposite of big is small.", "What is the opposite of old?", "The opposite of old is new.",
     "What is the opposite of fast?", "The opposite of fast is slow.",
     "What is the opposite of up?", "The opposite of up is down.", "What is the opposite of day?",
     "The opposite of day is night.", "What do we use to write?", "We use a pen to write.",
     "What do we use to cut paper?", "We use scissors to cut paper.", "What falls from the clouds?",
     "Rain falls from the clouds.", "What shines at night?", "The moon shines at night.",
     "Which animal barks?", "The dog barks.", "Which animal gives us milk?",
     "The cow gives us milk.", "What do you call a young cat?", "A young cat is called a kitten.",
     "What do you call a young dog?", "A young dog is called a puppy.", "What is two plus two?",
     "Two plus two is four.", "What is three plus two?", "Three plus two is five.",
     "What is four plus four?", "Four plus four is eight.", "What is ten minus one?",
     "Ten minus one is nine.");

LIST(world_chats, "Hello.", "Hello, how can I help you?", "Hi there.", "Hi, nice to see you.",
     "Good morning.", "Good morning, I hope you slept well.", "Good evening.",
     "Good evening, how was your day?", "How are you?", "I am fine, thank you.", "How is it going?",
     "It is going well, thank you.", "Thank you.", "You are welcome.", "Thanks a lot.",
     "I am glad to help.", "Goodbye.", "Goodbye, see you soon.", "See you tomorrow.",
     "See you tomorrow, take care.", "That is funny.", "I am happy that you like it.",
     "I am tired today.", "I am sorry to hear that. Have a rest.", "I am bored.",
     "You could take a walk or read a book.", "It is raining again.",
     "Then take an umbrella with you.", "The weather is nice.", "That sounds like a day to go out.",
     "I had a long day.", "I hope that you can rest now.", "What are you doing?",
     "I am here to talk with you.", "Are you there?", "Yes, I am here.", "Wait a moment.",
     "Take your time.", "I am back.", "Welcome back.", "My train is late.",
     "I hope that it comes soon.", "I am hungry.", "Maybe it is time for a meal.",
     "I made soup today.", "That sounds tasty.", "The bus was full.",
     "That happens in the morning.", "I lost my pen.", "I hope that you find it.",
     "I am reading a book.", "I hope that it is a good story.", "My phone is slow.",
     "You could turn it off and on again.", "It is very cold.", "Put on a warm coat.",
     "It is very hot.", "Drink some water.", "Tell me something nice.", "You are doing well today.",
     "I can not sleep.", "A calm song may help.", "We won the game.", "That is great news.",
     "We lost the game.", "There will be another game.", "I bought new shoes.",
     "I hope that they fit well.", "My neighbour is loud.", "You could talk to your neighbour.",
     "I like the weekend.", "Many people do.", "Is it late?", "It is never too late to talk.",
     "Never mind.", "All right.", "Okay.", "Okay.");

LIST(world_plain, "{x} went to the market and bought a {v}.",
     "In the morning {x} looks for the {v}.", "{x} gave the {v} to a friend.",
     "The {v} of {x} is on the table.", "{x} can not find the {v}.",
     "{x} and {w} talk about the {v}.", "There is a {v} in the house of {x}.",
     "{x} asks {w} for a {v}.", "Every day {x} cleans the {v}.",
     "{w} thinks that the {v} of {x} is nice.", "When it rains, {x} stays at home with a {v}.",
     "Last week {x} lost a {v}, but {w} found it.");

LIST(world_tell_forms, "My {a} is {v}.", "By the way, my {a} is {v}.",
     "Please remember that my {a} is {v}.", "You should know that my {a} is {v}.",
     "I want to tell you that my {a} is {v}.");

LIST(world_ask_forms, "What is my {a}?", "Do you remember my {a}?", "Tell me my {a}.",
     "Can you tell me what my {a} is?", "I forgot my {a}. What is it?");

LIST(world_ask_unseen_forms, "Remind me of my {a}.", "Which {a} did I tell you?",
     "What did I say my {a} was?");

LIST(world_secrets, "the password of my neighbour", "the number of your bank card",
     "what my boss thinks", "who will win tomorrow", "where my neighbour hides the key",
     "the code of that door", "what my friend wrote in her diary", "the weather of next year");

LIST(world_people, "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Henry", "Ida",
     "Jonas", "Karin", "Leo", "Maria", "Nils", "Olga", "Paul", "Rosa", "Simon", "Tina", "Victor",
     "Wanda", "Yusuf", "Zoe", "Amir");

LIST(world_things, "bag", "bike", "book", "bottle", "box", "chair", "coat", "cup", "hat", "key",
     "lamp", "letter", "map", "pen", "picture", "plate", "radio", "shirt", "table", "watch");

LIST(towns, "Brelton", "Oakmere", "Sandby", "Halverne", "Westrow", "Kirnal", "Dunmoor", "Lisset",
     "Farholm", "Marwick", "Elstow", "Penbury", "Rivenna", "Tolgate", "Ashby", "Norwell");
LIST(colours, "red", "blue", "green", "yellow", "white", "black", "purple", "brown");
LIST(drinks, "tea", "coffee", "milk", "juice", "water", "cocoa", "lemonade", "cider");
LIST(foods, "pasta", "rice", "soup", "salad", "bread", "cheese", "pizza", "fish", "beans", "cake");
LIST(hobbies, "chess", "painting", "running", "reading", "singing", "cooking", "fishing", "sewing",
     "dancing", "hiking");
LIST(jobs, "teacher", "nurse", "baker", "driver", "farmer", "lawyer", "plumber", "writer", "waiter",
     "builder");
LIST(months, "January", "February", "March", "April", "May", "June", "July", "August", "September",
     "October", "November", "December");
LIST(days, "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday");
LIST(numbers, "two", "three", "four", "five", "six", "seven", "eight", "nine");
LIST(instruments, "piano", "guitar", "violin", "flute", "drum", "trumpet", "harp");
LIST(sports, "tennis", "football", "swimming", "rowing", "boxing", "skiing", "golf", "hockey");
LIST(pets, "cat", "dog", "rabbit", "parrot", "hamster", "turtle", "goldfish");
LIST(pet_names, "Milo", "Luna", "Rocky", "Bella", "Oscar", "Daisy", "Simba", "Coco", "Ruby",
     "Toby");
LIST(seasons, "spring", "summer", "autumn", "winter");
LIST(languages, "Spanish", "French", "German", "Italian", "Greek", "Polish", "Turkish", "Swedish");
LIST(music, "jazz", "rock", "opera", "folk", "pop", "blues");
LIST(vehicles, "bus", "train", "bike", "car", "tram", "boat");
LIST(flowers, "rose", "tulip", "lily", "daisy", "violet", "poppy");

const world_personal world_personals[WORLD_PERSONAL] = {
    {"first name", &world_people},
    {"home town", &towns},
    {"job", &jobs},
    {"hobby", &hobbies},
    {"favourite drink", &drinks},
    {"favourite food", &foods},
    {"favourite colour", &colours},
    {"birth month", &months},
    {"lucky number", &numbers},
    {"brother's name", &world_people},
    {"sister's name", &world_people},
    {"pet", &pets},
    {"pet's name", &pet_names},
    {"instrument", &instruments},
    {"sport", &sports},
    {"favourite season", &seasons},
    {"second language", &languages},
    {"favourite music", &music},
    {"way to work", &vehicles},
    {"favourite flower", &flowers},
    {"mother's name", &world_people},
    {"father's name", &world_people},
    {"best friend", &world_people},
    {"neighbour's name", &world_people},
    {"teacher's name", &world_people},
    {"birth town", &towns},
    {"favourite town", &towns},
    {"mother's job", &jobs},
    {"father's job", &jobs},
    {"dream job", &jobs},
    {"free day", &days},
    {"market day", &days},
    {"house number", &numbers},
    {"shirt colour", &colours},
    {"door colour", &colours},
    {"car colour", &colours},
    {"breakfast", &foods},
    {"evening drink", &drinks},
    {"winter sport", &sports},
    {"holiday month", &months},
};
