"""Files of assets that are wrong, or that need what the stand-in lacks: one clear message each."""

from __future__ import annotations

import pytest

from isaac_standin.assets.loading import LoadOptions, load
from isaac_standin.errors import NotSupported, StandinError

pytestmark = pytest.mark.mujoco


@pytest.fixture
def refuse(tmp_path):
    """Return a function that loads the text of a file, and returns the error."""

    def load_text(text, name="robot.urdf"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises((StandinError, NotSupported)) as caught:
            load(path)
        assert name in str(caught.value)
        return caught.value

    return load_text


def robot(links, joints):
    """Return a robot from names of links and from (name, type, parent, child, more) of joints."""
    text = "".join(f'<link name="{name}"/>' for name in links)
    for name, kind, parent, child, more in joints:
        text += f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>{more}</joint>'
    return f'<robot name="r">{text}</robot>'


def link(inside):
    """Return a robot with one link."""
    return f'<robot name="r"><link name="part">{inside}</link></robot>'


def test_missing_file_is_named(tmp_path):
    """The message holds the path."""
    with pytest.raises(StandinError) as caught:
        load(tmp_path / "nowhere.urdf", LoadOptions())
    assert caught.value.got == str(tmp_path / "nowhere.urdf")


def test_unknown_ending_is_refused(refuse):
    """The message says which endings there are."""
    assert ".urdf, .xml or .mjcf" in refuse("", "robot.usd").expected


def test_malformed_xml_says_the_line(refuse):
    """The line of the mistake is named, for both formats."""
    assert "line 3" in refuse("<robot>\n<link name='a'/>\n<link></robot>").where
    assert "line 3" in refuse("<mujoco>\n<worldbody/>\n<body></mujoco>", "robot.xml").where


def test_file_of_the_other_format_is_refused(refuse):
    """An MJCF file with the ending .urdf is refused, and a URDF file with the ending .xml."""
    assert refuse("<mujoco/>").got == "<mujoco>"
    assert refuse(link(""), "robot.xml").got == "<robot>"


def test_robot_without_links_is_refused(refuse):
    """Nothing can be simulated."""
    assert "no links" in refuse("<robot name='r'/>").what


def test_two_roots_are_named(refuse):
    """Both links without a parent are in the message."""
    assert refuse(robot("abc", [("j", "fixed", "a", "b", "")])).got == "a, c"


@pytest.mark.parametrize("links", ["ab", "abc"])
def test_loop_is_named(refuse, links):
    """A loop is found with and without a root beside it."""
    error = refuse(robot(links, [("i", "fixed", "a", "b", ""), ("j", "fixed", "b", "a", "")]))
    assert (error.what, error.got) == ("the joints form a loop", "a -> b")


def test_two_parents_are_named(refuse):
    """A link with two parents is a closed chain."""
    error = refuse(robot("abc", [("i", "fixed", "a", "c", ""), ("j", "fixed", "b", "c", "")]))
    assert error.got == "'c' below 'a' and 'b'"


def test_two_links_of_one_name_are_refused(refuse):
    """Names of links are unique."""
    assert refuse(robot("aa", [])).got == "a"


def test_unknown_link_has_a_suggestion(refuse):
    """A misspelled link is named with the closest one."""
    error = refuse(robot(["base", "foot"], [("j", "fixed", "base", "fooot", "")]))
    assert error.what == "unknown link 'fooot'; did you mean 'foot'?"
    assert "joint 'j'" in error.where


@pytest.mark.parametrize("kind", ["planar", "ball", "spherical"])
def test_kinds_of_joints_that_are_lacking(refuse, kind):
    """They are refused by name."""
    error = refuse(robot("ab", [("j", kind, "a", "b", "")]))
    assert isinstance(error, NotSupported)
    assert kind in error.what


def test_floating_joint_below_the_root_is_refused(refuse):
    """A robot with a loose part is two assets."""
    error = refuse(robot("abc", [("i", "fixed", "a", "b", ""), ("j", "floating", "b", "c", "")]))
    assert isinstance(error, NotSupported)
    assert "joint 'j'" in error.where


def test_unknown_type_of_joint_is_refused(refuse):
    """The message lists the types."""
    assert "prismatic" in refuse(robot("ab", [("j", "hinge", "a", "b", "")])).expected


def test_mimic_is_refused(refuse):
    """The position of a joint that follows another one would be wrong."""
    assert isinstance(refuse(robot("ab", [("j", "revolute", "a", "b", '<mimic joint="k"/>')])), NotSupported)


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ('<axis xyz="0 0 0"/>', "axis"),
        ('<axis xyz="0 1"/>', "numbers"),
        ('<origin xyz="0 nan 0"/>', "numbers"),
        ('<limit lower="2" upper="1"/>', "no room"),
        ('<limit lower="${low}" upper="1"/>', "not a number"),
        ('<limit effort="-3"/>', "effort of a joint is negative"),
        ('<dynamics damping="-3"/>', "damping of a joint is negative"),
    ],
)
def test_wrong_numbers_of_a_joint(refuse, inside, what):
    """The message names the joint."""
    error = refuse(robot("ab", [("j", "revolute", "a", "b", inside)]))
    assert what in error.what
    assert "joint 'j'" in error.where


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ('<inertial><mass value="-2"/></inertial>', "mass of a link is negative"),
        ('<inertial><mass value="heavy"/></inertial>', "not a number"),
        ('<inertial><mass value="2"/><inertia ixx="inf"/></inertial>', "not finite"),
        ('<collision><geometry><box size="1 0 1"/></geometry></collision>', "not positive"),
        ('<collision><geometry><sphere radius="-1"/></geometry></collision>', "not positive"),
        ('<collision><geometry><cone radius="1"/></geometry></collision>', "unknown shape <cone>"),
        ('<collision><geometry><cylinder radius="1"/></geometry></collision>', "no attribute 'length'"),
        ("<collision/>", "<geometry>"),
        ('<collision><geometry><mesh filename="gone.stl"/></geometry></collision>', "is missing"),
    ],
)
def test_wrong_link(refuse, inside, what):
    """The message names the link."""
    error = refuse(link(inside))
    assert what in error.what
    assert "link 'part'" in error.where


@pytest.mark.parametrize("name", ["part.dae", "part.stl"])
def test_mesh_that_mujoco_cannot_read(refuse, tmp_path, name):
    """A format that MuJoCo lacks, and a file without triangles, are refused if the mesh collides."""
    (tmp_path / name).write_text("no triangles", encoding="utf-8")
    error = refuse(link(f'<collision><geometry><mesh filename="{name}"/></geometry></collision>'))
    assert "link 'part'" in error.where
    assert name in error.got


@pytest.mark.parametrize("name", ["density", "armature"])
def test_negative_options_are_refused(name):
    """An option that cannot be is refused where it is set."""
    with pytest.raises(StandinError, match=name):
        LoadOptions(**{name: -1.0})


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ('<body><joint type="ball"/><geom size="1"/></body>', "ball"),
        ('<geom size="1" type="ellipsoid"/>', "geom of this type"),
        ('<body><joint ref="1"/><geom size="1"/></body>', "ref"),
    ],
)
def test_mjcf_parts_that_are_lacking(refuse, inside, what):
    """They are refused by name."""
    text = f'<mujoco><worldbody><body name="b"><freejoint/><geom size="1"/>{inside}</body></worldbody></mujoco>'
    text = text.replace('size="1" type="ellipsoid"', 'size="1 2 3" type="ellipsoid"')
    error = refuse(text, "robot.xml")
    assert isinstance(error, NotSupported)
    assert what in error.what


BODY = '<body name="{0}"><geom size="1"/>{1}</body>'
HINGE = '<body><joint name="h"/><geom size="1"/></body>'


@pytest.mark.parametrize(
    ("world", "more", "what"),
    [
        (BODY.format("a", "") + BODY.format("b", ""), "", "one root"),
        ('<geom size="1"/>', "", "one root"),
        (BODY.format("a", "<joint/>"), "", "root body with joints"),
        (BODY.format("a", HINGE), '<actuator><position joint="h"/></actuator>', "not a motor"),
        (BODY.format("a", HINGE), '<equality><joint joint1="h"/></equality>', "equality"),
        (BODY.format("a", HINGE), '<tendon><fixed><joint joint="h" coef="1"/></fixed></tendon>', "tendon"),
    ],
)
def test_mjcf_files_that_are_refused(refuse, world, more, what):
    """Each is named."""
    assert what in refuse(f"<mujoco><worldbody>{world}</worldbody>{more}</mujoco>", "robot.xml").what


def test_mjcf_mesh_that_collides_must_exist(refuse):
    """The file is named."""
    text = """<mujoco><asset><mesh name="m" file="gone.stl"/></asset><worldbody><body name="a">
      <geom type="mesh" mesh="m"/></body></worldbody></mujoco>"""
    assert refuse(text, "robot.xml").got.endswith("gone.stl")
