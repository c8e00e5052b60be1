"""What each kind of personal value looks like: its form, its checksum where there is one, and what columns that hold it
are called. Knows single values; nothing of columns."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from workers.modalities.table import accounts, locales

TITLES = {
    "email": "e-mail addresses", "name": "names of people", "first_name": "first names", "last_name": "family names",
    "username": "user names", "phone": "telephone numbers", "address": "street addresses", "city": "places",
    "postcode": "postcodes", "company": "names of companies", "iban": "IBANs", "credit_card": "card numbers",
    "ssn": "social security numbers", "national_id": "personal numbers", "ip": "IP addresses", "url": "web addresses",
}  # fmt: skip
HINTS: dict[str, tuple[str, ...]] = {  # the last words of a column's name that speak for an entity
    "email": ("email", "e_mail", "mail", "email_address", "mail_address", "correo", "courriel"),
    "first_name": ("first_name", "firstname", "forename", "given_name", "givenname", "fname", "vorname", "prenom"),
    "last_name": ("last_name", "lastname", "surname", "family_name", "familyname", "lname", "nachname", "familienname",
                  "apellido", "apellidos", "cognome", "sobrenome"),
    "username": ("username", "user_name", "login", "login_name", "screen_name", "nickname", "benutzername"),
    "phone": ("phone", "phone_number", "phone_no", "telephone", "tel", "mobile", "mobile_number", "cell_phone",
              "cellphone", "fax", "telefon", "handy", "telefono", "movil", "celular", "telefone", "telephone_number"),
    "address": ("address", "street", "street_address", "address_1", "address_line_1", "addr", "addr1", "anschrift",
                "adresse", "strasse", "direccion", "indirizzo", "endereco", "adres", "address1", "home_address"),
    "city": ("city", "town", "place", "ort", "stadt", "ciudad", "ville", "comune", "cidade"),
    "postcode": ("postcode", "post_code", "postal_code", "postalcode", "zip", "zip_code", "zipcode", "plz", "cap"),
    "company": ("company", "company_name", "employer", "firma", "empresa", "entreprise", "organisation",
                "organization"),
    "iban": ("iban",),
    "credit_card": ("credit_card", "card_number", "card_no", "cc_number", "cc_num", "ccn", "creditcard", "pan",
                    "credit_card_number", "card_num"),
    "ssn": ("ssn", "social_security_number", "social_security", "social_security_no"),
    "national_id": ("national_id", "nino", "dni", "nif", "nie", "cpf", "pesel", "bsn", "personnummer", "cpr", "nir",
                    "codice_fiscale", "curp", "aadhaar", "passport", "passport_number", "passport_no", "tax_id",
                    "steuer_id", "driver_license", "driving_licence", "license_number", "sozialversicherungsnummer",
                    "id_card"),
    "ip": ("ip", "ip_address", "ipv4", "ipv6", "ip_addr"),
    "url": ("url", "website", "homepage", "web", "web_site", "link", "profile_url"),
    "name": ("full_name", "fullname", "person_name", "persons_name", "nombre_completo", "nom_complet", "nome_completo",
             *(f"{who}_name" for who in (
                 "customer", "client", "patient", "employee", "contact", "passenger", "member", "student", "teacher",
                 "owner", "buyer", "seller", "applicant", "doctor", "driver", "guest", "recipient", "sender", "person",
                 "cardholder", "beneficiary", "borrower", "tenant", "author", "billing", "shipping"))),
}  # fmt: skip
WEAK_NAME = ("name", "names", "nombre", "nom", "nome", "customer", "client", "patient", "passenger", "employee")
PEOPLE = (  # last words of the names of columns that speak of a person, with or without "name" after them
    "customer", "client", "patient", "passenger", "employee", "rep", "representative", "owner", "author", "contact",
    "manager", "agent", "seller", "buyer", "assignee", "assigned_to", "salesperson", "sales_rep", "supervisor",
    "doctor", "physician", "teacher", "student", "member", "recipient", "sender", "driver", "guest", "applicant",
    "tenant", "beneficiary", "cardholder", "person", "holder", "user", "created_by", "updated_by", "reviewer",
    "responsible", "kunde", "patientin", "mitarbeiter", "cliente", "paciente", "empleado",
)  # fmt: skip
WORD = r"[^\W\d_][\w'’.-]*"
PERSON = re.compile(rf"^{WORD}(?:,? {WORD}){{1,5}}( \(.*\)?)?$")
SINGLE = re.compile(r"^[^\W\d_][\w'’. -]*$")
PHONE = re.compile(
    r"^(\+|\(|00)[\d ()./-]{6,20}$|^0[\d()]*[ ()./-][\d ()./-]{4,18}$|^1?[ .-]?\d{3}[ .-]\d{3}[ .-]\d{4}$"
)
# Telephones that are clearly such, in the country's or the world's form; the others need a name that says so.
CLEAR_PHONE = (
    r"(?:\+[1-9][\d ()./-]{6,20}\d|00[1-9]\d{0,2}[ ./-][\d ()./-]{5,18}\d|0[1-9]\d{1,4} ?[-/ ] ?\d{3,9}(?:[ -]\d{2,6})*"
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4})"
)
PHONE_WITHIN = re.compile(rf"(?<![\w.,/+-]){CLEAR_PHONE}(?![\w-])")
EMAIL_WITHIN = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
SSN_WITHIN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
CARD_WITHIN = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
IBAN_WITHIN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,40}")
ISSUED = re.compile(r"^(4\d{12}(\d{3})?|(5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(011|5\d\d)\d{12})$")
STREET = re.compile(
    r"\b(street|st\.?|avenue|ave\.?|road|rd\.?|lane|ln\.?|drive|dr\.?|blvd|boulevard|court|way|place|rue|chemin|via|"
    r"viale|piazza|calle|avenida|paseo|rua|ul\.|aleja)\b|(straße|strasse|str\.|gasse|weg|platz|allee|straat|laan|gracht|"
    r"gatan|vej)",
    re.IGNORECASE,
)


def _email(value: str) -> bool:
    return re.match(r"^[^@\s,;<>]+@[^@\s,;<>.]+(\.[^@\s,;<>.]+)+$", value) is not None


def _url(value: str) -> bool:
    return re.match(r"^(https?://|www\.)\S+\.\S+$", value, re.IGNORECASE) is not None


def _ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return not value.isdigit()


def _iban(value: str) -> bool:
    plain = value.replace(" ", "").upper()
    if not re.match(r"^[A-Z]{2}\d{2}[A-Z0-9]{10,30}$", plain):
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _card(value: str) -> bool:
    digits = re.sub(r"[ -]", "", value)
    if not re.match(r"^[2-6]\d{12,18}$", digits):
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def issued(value: str) -> bool:
    """A card number of a length and a beginning that cards have."""
    return _card(value) and ISSUED.match(re.sub(r"[ -]", "", value)) is not None


def iban_at_start(value: str) -> bool:
    """Whether an IBAN stands before whatever else there is; capitals only."""
    plain = value.replace(" ", "")
    letters, digits = accounts.IBANS.get(plain[:2], (0, len(plain) - 4))
    return _iban(plain[: 4 + letters + digits])


def dialled_clearly(value: str) -> bool:
    return re.fullmatch(CLEAR_PHONE, value) is not None and 9 <= sum(map(str.isdigit, value)) <= 17


def _phone(value: str) -> bool:
    return PHONE.match(value) is not None and 7 <= sum(map(str.isdigit, value)) <= 15


def _dialled(value: str) -> bool:
    """A telephone number in a column that is called so."""
    return re.match(r"^[+(\d][\d ()./x-]{4,24}$", value) is not None and 6 <= sum(map(str.isdigit, value)) <= 17


def _ssn(value: str) -> bool:
    return re.match(r"^\d{3}-\d{2}-\d{4}$", value) is not None


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _national_id(value: str) -> bool:
    """British, French, Spanish, Italian, Polish, Brazilian and Chinese numbers, by their form and their check digit."""
    value = value.upper()
    if re.match(r"^[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]$", value):
        return True
    if re.match(r"^[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]$|^\d{3}\.\d{3}\.\d{3}-\d{2}$", value):
        return True
    if re.match(r"^[XYZ\d]\d{7}[A-Z]$", value):
        number = int(value[:-1].translate(str.maketrans("XYZ", "012")))
        return value[-1] == "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]
    if re.match(r"^[12]\d{14}$", value):
        return 97 - int(value[:13]) % 97 == int(value[13:])
    if re.match(r"^\d{11}$", value):
        return _weighted(value, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    if re.match(r"^\d{17}[\dX]$", value):
        return "10X98765432"[_weighted(value, [2 ** (17 - i) % 11 for i in range(17)]) % 11] == value[-1]
    return False


def _digit(value: str) -> bool:
    return re.search(r"\d", value) is not None


def _address(value: str) -> bool:
    return re.search(r"\d", value) is not None and len(value.split()) >= 2 and STREET.search(value) is not None


def person(value: str) -> bool:
    """Two words or more, the first of them (or the first after a comma) a name that people have."""
    if not PERSON.match(value) or (value.isupper() and len(value) < 4):
        return False
    given = value.split(",", 1)[1] if "," in value else value
    tokens = [token for token in re.findall(r"[^\W\d_]{2,}", given) if token.lower().rstrip(".") not in HONORIFICS]
    return bool(tokens) and locales.first_name(tokens[0])


HONORIFICS = frozenset(["mr", "mrs", "ms", "miss", "dr", "prof", "sir", "master", "rev", "col", "capt", "major", "mme",
                        "mlle", "herr", "frau", "don", "sra", "sr"])  # fmt: skip
BY_CONTENT: tuple[tuple[str, Callable[[str], bool], bool], ...] = (  # entity, form, whether whole numbers may be it
    ("email", _email, False), ("url", _url, False), ("ip", _ip, False), ("iban", _iban, False),
    ("credit_card", _card, True), ("ssn", _ssn, False), ("national_id", _national_id, True), ("phone", _phone, False),
    ("address", _address, False),
)  # fmt: skip
BY_NAME: dict[str, Callable[[str], bool]] = {  # what is asked of values in a column that is named so
    "email": _email,
    "url": lambda value: " " not in value and re.search(r"\w\.\w", value) is not None,
    "ip": _ip,
    "iban": lambda value: re.match(r"^[A-Z]{2}\d{2}[A-Z0-9 ]{10,36}$", value.upper()) is not None,
    "credit_card": lambda value: re.match(r"^\d[\d -]{11,22}$", value) is not None,
    "ssn": lambda value: re.match(r"^\d{3}[ -]?\d{2}[ -]?\d{4}$", value) is not None,
    "national_id": lambda value: re.match(r"^[\w ./-]{5,20}$", value) is not None and _digit(value),
    "phone": _dialled,
    "username": lambda value: re.match(r"^[\w.@-]{2,40}$", value) is not None and not value.isdigit(),
    "first_name": lambda value: SINGLE.match(value) is not None and len(value.split()) <= 3,
    "last_name": lambda value: SINGLE.match(value) is not None and len(value.split()) <= 4,
    "name": lambda value: PERSON.match(value) is not None,
    "address": lambda value: len(value.split()) >= 2 and re.search(r"\d|\w{4}", value) is not None,
    "city": lambda value: SINGLE.match(value) is not None,
    "postcode": lambda value: re.match(r"^[A-Za-z\d][A-Za-z\d -]{2,9}$", value) is not None and _digit(value),
    "company": lambda value: re.search(r"[^\W\d_]{2}", value) is not None,
}  # fmt: skip
STRICT: dict[str, Callable[[str], bool]] = {  # clear enough to be somebody's own however many rows share it
    "email": _email, "iban": _iban, "credit_card": issued, "ssn": _ssn, "phone": dialled_clearly,
}  # fmt: skip
UNSHARED = ("city", "postcode", "company")  # ordinary categories, but where nearly every row has its own
SECRET = ("iban", "credit_card", "ssn", "national_id")  # however many rows share one
WHOLE = ("phone", "credit_card", "ssn", "national_id")  # may come as whole numbers


def called(value: str) -> bool:
    """A single first name."""
    return " " not in value and SINGLE.match(value) is not None and locales.first_name(value)
