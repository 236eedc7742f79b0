"""Countries and languages, as a model or a person writes them."""

import re
from dataclasses import dataclass
from functools import cache

from arriero.tools.errors import ToolArgumentError

_SHAPE = re.compile(r"([A-Za-z]{2})(?:[-_]([A-Za-z]{2,3}))?")
# ISO 3166-1, with the names that Tavily's search knows
_NAMED = """af afghanistan,al albania,dz algeria,ad andorra,ao angola,ar argentina,am armenia,au australia,at austria,
az azerbaijan,bs bahamas,bh bahrain,bd bangladesh,bb barbados,by belarus,be belgium,bz belize,bj benin,bt bhutan,
bo bolivia,ba bosnia and herzegovina,bw botswana,br brazil,bn brunei,bg bulgaria,bf burkina faso,bi burundi,
kh cambodia,cm cameroon,ca canada,cv cape verde,cf central african republic,td chad,cl chile,cn china,co colombia,
km comoros,cg congo,cr costa rica,hr croatia,cu cuba,cy cyprus,cz czech republic,dk denmark,dj djibouti,
do dominican republic,ec ecuador,eg egypt,sv el salvador,gq equatorial guinea,er eritrea,ee estonia,et ethiopia,
fj fiji,fi finland,fr france,ga gabon,gm gambia,ge georgia,de germany,gh ghana,gr greece,gt guatemala,gn guinea,
ht haiti,hn honduras,hu hungary,is iceland,in india,id indonesia,ir iran,iq iraq,ie ireland,il israel,it italy,
jm jamaica,jp japan,jo jordan,kz kazakhstan,ke kenya,kw kuwait,kg kyrgyzstan,lv latvia,lb lebanon,ls lesotho,
lr liberia,ly libya,li liechtenstein,lt lithuania,lu luxembourg,mg madagascar,mw malawi,my malaysia,mv maldives,
ml mali,mt malta,mr mauritania,mu mauritius,mx mexico,md moldova,mc monaco,mn mongolia,me montenegro,ma morocco,
mz mozambique,mm myanmar,na namibia,np nepal,nl netherlands,nz new zealand,ni nicaragua,ne niger,ng nigeria,
kp north korea,mk north macedonia,no norway,om oman,pk pakistan,pa panama,pg papua new guinea,py paraguay,pe peru,
ph philippines,pl poland,pt portugal,qa qatar,ro romania,ru russia,rw rwanda,sa saudi arabia,sn senegal,rs serbia,
sg singapore,sk slovakia,si slovenia,so somalia,za south africa,kr south korea,ss south sudan,es spain,lk sri lanka,
sd sudan,se sweden,ch switzerland,sy syria,tw taiwan,tj tajikistan,tz tanzania,th thailand,tg togo,
tt trinidad and tobago,tn tunisia,tr turkey,tm turkmenistan,ug uganda,ua ukraine,ae united arab emirates,
gb united kingdom,us united states,uy uruguay,uz uzbekistan,ve venezuela,vn vietnam,ye yemen,zm zambia,zw zimbabwe"""
_UNNAMED = """ag ai aq as aw ax bl bm bq bv cc cd ci ck cw cx dm eh fk fm fo gd gf gg gi gl gp gs gu gw gy hk hm im io
je ki kn ky la lc mf mh mo mp mq ms nc nf nr nu pf pm pn pr ps pw re sb sc sh sj sl sm sr st sx sz tc tf tk tl to tv
um va vc vg vi vu wf ws yt"""


@dataclass(frozen=True, slots=True)
class Region:
    """A country, and maybe a language.

    Args:
        country: ISO 3166-1 code of two small letters.
        language: ISO 639 code of two or three small letters.
    """

    country: str
    language: str | None = None

    @property
    def country_name(self) -> str | None:
        """The country's English name in small letters, where it is a larger one."""
        return _countries()[self.country]


def read_region(text: str) -> Region:
    """A region from what a model writes.

    Args:
        text: A country ("us"), country and language ("us-en"), or a locale ("en-US").

    Returns:
        The region.

    Raises:
        ToolArgumentError: It is none of these, or there is no such country.

    Example:
        >>> read_region("us-en"), read_region("en-US"), read_region("UK")
        (Region(country='us', language='en'), Region(country='us', language='en'), Region(country='gb', language=None))
    """
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None:
        raise ToolArgumentError("argument 'region': use a country such as 'us', or country and language: 'us-en'")
    first, second = shape[1], shape[2]
    locale = second is not None and len(second) == 2 and first.islower() and second.isupper()
    country, language = (second, first) if locale else (first, second)
    countries = _countries()
    if language and country.lower() not in countries and language.lower() in countries:
        country, language = language, country  # the other order, as in "en-us"
    country = country.lower()
    if country not in countries:
        raise ToolArgumentError(f"argument 'region': there is no country {country!r}; use an ISO code such as 'us'")
    return Region("gb" if country == "uk" else country, language.lower() if language else None)


@cache
def _countries() -> dict[str, str | None]:
    named = {entry.strip()[:2]: entry.strip()[3:] for entry in _NAMED.split(",")}
    return dict.fromkeys([*_UNNAMED.split(), "uk"]) | named
