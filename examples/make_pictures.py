"""Models and renders the example pictures of this folder.

In:  nothing but this file; every shape and texture is made here, from fixed seeds.
Out: the files named in PICTURES, into --out (default: this folder).

The front of an object looks along -Y, up is +Z; a prop is two to five units tall.
Needs Blender as a module (the `bpy` wheel); README.md has the line that installs it.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path
from random import Random

import bpy  # first: it brings the other two
import bmesh  # isort: skip
from mathutils import Matrix, Vector

SAMPLES = 64  # with denoising
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}


# ---------------------------------------------------------------- materials


def colour(code):
    """'#rrggbb' as drawn on a screen -> linear RGBA."""
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return (*linear, 1.0)


class Graph:
    """A material's node graph, written as expressions.

    Every method adds a node and returns an output socket of it. Any argument may be such a
    socket or a plain value; colours are '#rrggbb'. Textures use object space, shifted by a
    random amount per object, so that the planks of one material do not look alike.
    """

    def __init__(self, name):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def add(self, kind, inputs, output=0, **settings):
        node = self.tree.nodes.new("ShaderNode" + kind)
        for key, value in settings.items():
            setattr(node, key, value)
        for key, value in inputs.items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[key])
            else:
                value = colour(value) if isinstance(value, str) else value
                node.inputs[key].default_value = value
        return node.outputs[output]

    def position(self):
        return self.add("TexCoord", {}, "Object")

    def axis(self, name):
        return self.add("SeparateXYZ", {0: self.position()}, name)

    def per_object(self):
        """A number in 0..1, fixed per object."""
        return self.add("ObjectInfo", {}, "Random")

    def math(self, op, a, b=0.0):
        return self.add("Math", {0: a, 1: b}, operation=op)

    def vector(self, op, a, b):
        return self.add("VectorMath", {0: a, 1: b}, operation=op)

    def turn(self):
        """The angle around Z, in radians, 0 at the front."""
        return self.math("ARCTAN2", self.axis("X"), self.math("MULTIPLY", self.axis("Y"), -1.0))

    def noise(self, scale, stretch=(1, 1, 1), detail=5.0, warp=0.0):
        """A cloudy number around 0.5; a stretch below 1 draws it out along that axis."""
        shift = self.math("MULTIPLY", self.per_object(), 40.0)
        at = self.vector("MULTIPLY", self.position(), stretch)
        at = self.vector("ADD", at, self.add("CombineXYZ", {0: shift, 1: shift, 2: shift}))
        return self.add(
            "TexNoise", {"Vector": at, "Scale": scale, "Detail": detail, "Distortion": warp}
        )

    def step(self, value, low, high):
        """0 below low, 1 above high, smooth between; low > high turns it round."""
        low, high, ends = (low, high, (0.0, 1.0)) if low < high else (high, low, (1.0, 0.0))
        inputs = {0: value, 1: low, 2: high, 3: ends[0], 4: ends[1]}
        return self.add("MapRange", inputs, interpolation_type="SMOOTHSTEP")

    def mix(self, amount, a, b):
        return self.add("Mix", {0: amount, 6: a, 7: b}, 2, data_type="RGBA")

    def blend(self, amount, a, b):
        """Between two numbers."""
        return self.add("Mix", {0: amount, 2: a, 3: b}, 0)

    def edges(self, radius):
        """1 on sharp edges, 0 on flat parts: where wear shows."""
        rounded = self.add("Bevel", {"Radius": radius}, samples=2)
        plain = self.add("NewGeometry", {}, "Normal")
        alike = self.add("VectorMath", {0: rounded, 1: plain}, "Value", operation="DOT_PRODUCT")
        return self.step(alike, 0.995, 0.88)

    def crevices(self, distance):
        """1 in corners and joints, 0 in the open: where dirt gathers."""
        open_sky = self.add("AmbientOcclusion", {"Distance": distance}, "AO", samples=2)
        return self.step(open_sky, 0.9, 0.35)

    def bump(self, height, depth):
        return self.add("Bump", {"Height": height, "Distance": depth, "Strength": 1.0})

    def surface(self, base, rough, metal=0.0, normal=None, **more):
        """The finished material; `more` are Principled inputs, spaces written as '_'."""
        inputs = {"Base Color": base, "Roughness": rough, "Metallic": metal}
        inputs |= {key.replace("_", " "): value for key, value in more.items()}
        if normal is not None:
            inputs["Normal"] = normal
        return self.output(self.add("BsdfPrincipled", inputs))

    def output(self, shader):
        end = self.tree.nodes.new("ShaderNodeOutputMaterial")
        self.tree.links.new(shader, end.inputs["Surface"])
        return self.material


def plain(name, base, rough=0.6, **more):
    return Graph(name).surface(base, rough, **more)


def metal(name, bright, dull, dark, rough=0.3, dents=0.01):
    """Old metal: dull with bright edges, dark in the corners, uneven in shine."""
    g = Graph(name)
    clouds = g.noise(3.0)
    specks = g.noise(22.0)
    base = g.mix(g.step(clouds, 0.35, 0.65), dull, bright)
    base = g.mix(g.math("MULTIPLY", g.step(specks, 0.52, 0.7), 0.6), base, dark)
    base = g.mix(g.crevices(0.12), base, dark)
    worn = g.edges(0.03)
    base = g.mix(worn, base, bright)
    shine = g.blend(g.step(specks, 0.3, 0.75), rough, rough + 0.25)
    shine = g.blend(worn, shine, rough)
    height = g.math("ADD", clouds, g.math("MULTIPLY", specks, 0.25))
    return g.surface(base, shine, 1.0, g.bump(height, dents))


def grain(g, along, scale=1.0):
    """Wood grain along an axis (0, 1, 2) -> (broad streaks, fine fibres)."""
    broad = [2.2 * scale] * 3
    fine = [14.0 * scale] * 3
    broad[along] *= 0.14
    fine[along] *= 0.05
    return g.noise(1.0, broad, 6.0, 1.4), g.noise(1.0, fine, 4.0)


def wood(name, light, dark, along=2, rough=0.6, spread=0.35, aged=True):
    """Bare wood; `spread` is how much one plank differs from the next, aged adds dirt and wear."""
    g = Graph(name)
    streaks, fibres = grain(g, along)
    tone = g.math("ADD", streaks, g.math("MULTIPLY", g.math("SUBTRACT", fibres, 0.5), 0.8))
    base = g.mix(g.step(tone, 0.28, 0.76), light, dark)
    base = g.mix(g.math("MULTIPLY", g.per_object(), spread), base, dark)
    if aged:
        base = g.mix(g.math("MULTIPLY", g.crevices(0.15), 0.75), base, "#120a06")
        base = g.mix(g.math("MULTIPLY", g.edges(0.03), 0.35), base, light)
    return g.surface(base, rough, 0.0, g.bump(tone, 0.03))


# ------------------------------------------------------------------- shapes


def grid(rows, columns, around=False):
    """Quads over rows x columns points; around joins the last column to the first."""
    return [
        (r * columns + c, r * columns + n, (r + 1) * columns + n, (r + 1) * columns + c)
        for r in range(rows - 1)
        for c in range(columns if around else columns - 1)
        for n in [(c + 1) % columns]
    ]


def mesh(name, points, faces, material, sharp=35.0, bevel=0.0, thick=0.0):
    """Points and faces -> an object; edges steeper than `sharp` degrees stay sharp."""
    data = bpy.data.meshes.new(name)
    build = bmesh.new()
    corners = [build.verts.new(p) for p in points]
    for face in faces:
        build.faces.new([corners[i] for i in face])
    bmesh.ops.remove_doubles(build, verts=build.verts, dist=1e-5)
    bmesh.ops.recalc_face_normals(build, faces=build.faces)
    build.to_mesh(data)
    build.free()
    data.materials.append(material)
    data.shade_smooth()
    data.set_sharp_from_angle(angle=math.radians(sharp))
    thing = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(thing)
    if thick:
        shell = thing.modifiers.new("thick", "SOLIDIFY")
        shell.thickness = thick
        shell.offset = 0.0
    if bevel:
        rounding = thing.modifiers.new("bevel", "BEVEL")
        rounding.width = bevel
        rounding.segments = 3
        rounding.harden_normals = True
    return thing


def pairs(text):
    """'0 1, 2 3' -> [(0.0, 1.0), (2.0, 3.0)]: shapes as short tables."""
    return [tuple(float(n) for n in point.split()) for point in text.split(",")]


def smooth(controls, steps=8):
    """A Catmull-Rom curve through the controls (tuples of any one length)."""
    count = len(controls)

    out = []
    for i in range(count - 1):
        a, b, c, d = (controls[min(max(i + k, 0), count - 1)] for k in (-1, 0, 1, 2))
        for s in range(steps):
            t = s / steps
            out.append(
                tuple(
                    0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - w) * t * t)
                    + 0.5 * (3 * q - p - 3 * r + w) * t**3
                    for p, q, r, w in zip(a, b, c, d, strict=True)
                )
            )
    return [*out, tuple(controls[-1])]


def lathe(name, profile, material, sides=96, shape=None, **kind):
    """Turns a profile of (radius, height) around Z.

    shape(radius, height, angle) -> (radius, height) bends it out of round; angle 0 is +X.
    """
    points = []
    for radius, height in profile:
        for k in range(sides):
            angle = 2 * pi * k / sides
            r, z = shape(radius, height, angle) if shape else (radius, height)
            points.append((r * cos(angle), r * sin(angle), z))
    return mesh(name, points, grid(len(profile), sides, True), material, **kind)


def ball(name, at, size, material, shape=None):
    """A sphere, or an ellipsoid where size is (x, y, z) radii."""
    arc = [(sin(pi * k / 24), -cos(pi * k / 24)) for k in range(25)]
    arc[0], arc[-1] = (0.0, -1.0), (0.0, 1.0)
    thing = lathe(name, arc, material, 48, shape)
    radii = (size,) * 3 if isinstance(size, (int, float)) else size
    thing.data.transform(Matrix.Diagonal((*radii, 1.0)))
    thing.location = at
    return thing


def box(name, at, size, material, bevel=0.02):
    x, y, z = (s / 2 for s in size)
    points = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    thing = mesh(name, points, faces, material, bevel=bevel)
    thing.location = at
    return thing


def tube(name, path, radius, material, closed=False):
    """A round bar along points; radius is one number or one per point."""
    data = bpy.data.curves.new(name, "CURVE")
    data.dimensions = "3D"
    data.bevel_depth = 1.0
    data.bevel_resolution = 8
    data.use_fill_caps = True
    line = data.splines.new("POLY")
    line.points.add(len(path) - 1)
    line.use_cyclic_u = closed
    radii = radius if isinstance(radius, list) else [radius] * len(path)
    for point, at, r in zip(line.points, path, radii, strict=True):
        point.co = (*at, 1.0)
        point.radius = r
    data.materials.append(material)
    thing = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(thing)
    return thing


def ring(name, at, radius, thickness, material):
    """A ring that faces the camera."""
    turns = [2 * pi * k / 64 for k in range(64)]
    path = [(radius * cos(a), 0.0, radius * sin(a)) for a in turns]
    thing = tube(name, path, thickness, material, closed=True)
    thing.location = at
    return thing


def to_front(thing, at):
    """Lays a lathe's axis towards the camera."""
    thing.rotation_euler.x = pi / 2
    thing.location = at


# ---------------------------------------------------------- scene and camera


def sky(top, bottom, strength):
    """Light from all around: one colour above, another below."""
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    tree = world.node_tree
    height = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(tree.nodes.new("ShaderNodeTexCoord").outputs["Generated"], height.inputs[0])
    range_ = tree.nodes.new("ShaderNodeMapRange")
    range_.inputs[1].default_value = -1.0
    tree.links.new(height.outputs["Z"], range_.inputs[0])
    both = tree.nodes.new("ShaderNodeMix")
    both.data_type = "RGBA"
    tree.links.new(range_.outputs[0], both.inputs[0])
    both.inputs[6].default_value = colour(bottom)
    both.inputs[7].default_value = colour(top)
    tree.links.new(both.outputs[2], tree.nodes["Background"].inputs["Color"])
    tree.nodes["Background"].inputs["Strength"].default_value = strength
    bpy.context.scene.world = world


def aim(thing, at, target):
    thing.location = at
    thing.rotation_euler = (Vector(target) - Vector(at)).to_track_quat("-Z", "Y").to_euler()


def lamp(at, target, size, power, tint="#ffffff"):
    """A soft square light."""
    data = bpy.data.lights.new("lamp", "AREA")
    data.size = size
    data.energy = power
    data.color = colour(tint)[:3]
    thing = bpy.data.objects.new("lamp", data)
    bpy.context.collection.objects.link(thing)
    aim(thing, at, target)


def camera(height, span, rise=0.0, lens=90.0, f_stop=None):
    """Looks at (0, 0, height) from the front, `rise` degrees up.

    span: units seen along the picture's longer side. f_stop blurs what is out of reach.
    """
    data = bpy.data.cameras.new("camera")
    data.lens = lens
    distance = span * lens / 36.0
    if f_stop:
        data.dof.use_dof = True
        data.dof.focus_distance = distance - 0.6
        data.dof.aperture_fstop = f_stop
    thing = bpy.data.objects.new("camera", data)
    bpy.context.collection.objects.link(thing)
    turn = math.radians(rise)
    aim(thing, (0, -distance * cos(turn), height + distance * sin(turn)), (0, 0, height))
    bpy.context.scene.camera = thing


def backdrop(material, back=5.0, bend=3.0):
    """A floor that curves up into a wall: no horizon."""
    curve = [(-16.0, 0.0), (back, 0.0)]
    for k in range(1, 17):
        a = pi / 2 * k / 16
        curve.append((back + bend * sin(a), bend * (1 - cos(a))))
    curve.append((back + bend, 30.0))
    points = [(x, y, z) for y, z in curve for x in (-30.0, 30.0)]
    mesh("backdrop", points, grid(len(curve), 2), material, sharp=180)


# ----------------------------------------------------------------- pictures


def lantern():
    """Six-sided brass lantern, lit, with a ring on top."""
    brass = metal("brass", "#f0bf66", "#b58a45", "#2e2012", 0.26, 0.015)
    iron = metal("iron", "#8a8582", "#4c4845", "#161210", 0.42)
    wax = plain("wax", "#f2dfb8", 0.5, Emission_Color="#ffb030", Emission_Strength=0.35)
    flame = plain("flame", "#000000", Emission_Color="#ffc860", Emission_Strength=22.0)

    low, high, r_low, r_high, fire = 0.62, 2.42, 0.74, 0.94, 1.45

    g = Graph("glow")  # the back panes, lit by the flame
    away = g.vector("SUBTRACT", g.position(), (0.0, 0.0, fire))
    away = g.vector("MULTIPLY", away, (1.0, 0.25, 0.8))
    away = g.add("VectorMath", {0: away}, "Value", operation="LENGTH")
    near = g.step(away, 1.15, 0.0)
    near = g.math("MULTIPLY", near, g.blend(g.noise(3.0), 0.7, 1.3))
    tint = g.mix(g.step(near, 0.1, 0.9), "#d0640a", "#ffc03a")
    power = g.blend(g.math("POWER", near, 1.6), 0.45, 3.4)
    glow = g.surface("#000000", 1.0, Emission_Color=tint, Emission_Strength=power)

    g = Graph("glass")  # thin: what is behind shows through, tinted and a little dirty
    dirt = g.math("MULTIPLY", g.crevices(0.25), g.step(g.noise(6.0), 0.2, 0.8))
    through = g.add("BsdfTransparent", {"Color": g.mix(dirt, "#ffe3b0", "#8a5a2a")})
    shine = g.add("BsdfGlossy", {"Color": "#ffffff", "Roughness": 0.12})
    facing = g.add("Fresnel", {"IOR": 1.35})
    glass = g.output(g.add("MixShader", {0: facing, 1: through, 2: shine}))

    def corner(k, z, out=0.0):
        share = (z - low) / (high - low)
        r = r_low + (r_high - r_low) * share + out
        return (r * cos(pi * k / 3), r * sin(pi * k / 3), z)

    foot = pairs("0 0, 0.98 0, 1.02 0.04, 1.02 0.16, 0.9 0.22, 0.86 0.34")
    foot += pairs("0.9 0.4, 0.9 0.5, 0.82 0.56, 0.82 0.62, 0 0.62")
    lathe("foot", foot, brass, 6, bevel=0.02)
    roof = pairs("0 2.4, 1.02 2.4, 1.16 2.44, 1.18 2.52, 1.1 2.58")
    roof += smooth(pairs("1.0 2.6, 0.72 2.74, 0.5 2.96, 0.38 3.2"), 5)
    roof += pairs("0.42 3.22, 0.42 3.28, 0.34 3.3, 0 3.3")
    lathe("roof", roof, brass, 6, bevel=0.015)
    cap = pairs("0 3.3, 0.28 3.3, 0.28 3.46, 0.42 3.48, 0.42 3.53")
    cap += smooth(pairs("0.38 3.56, 0.28 3.66, 0.1 3.73, 0.0 3.74"), 5)
    lathe("cap", cap, brass, 64)

    for k in range(6):
        tube("post", [corner(k, low - 0.04, 0.02), corner(k, high + 0.04, 0.02)], 0.055, iron)
        ball("knob", corner(k, 0.06, 0.26), (0.09, 0.09, 0.07), brass)
        ball("finial", corner(k, 2.6, 0.14), 0.065, brass)
        for share in (0.3, 0.72):
            z = low + (high - low) * share
            tube("guard", [corner(k, z, 0.03), corner(k + 1, z, 0.03)], 0.024, iron)
        slot = 2 * pi * (k + 0.5) / 6
        vent = box("vent", (0, 0, 3.38), (0.1, 0.57, 0.08), glow, 0)
        vent.rotation_euler.z = slot

    def panes(name, first, last, material):
        rows = [[corner(k, z) for k in range(first, last + 1)] for z in (low, high)]
        mesh(name, rows[0] + rows[1], grid(2, last - first + 1), material, sharp=10)

    panes("back", 0, 3, glow)
    panes("front", 3, 6, glass)
    lathe("candle", pairs("0 0.6, 0.2 0.6, 0.2 1.12, 0.17 1.16, 0 1.13"), wax)
    drop = smooth(pairs("0.0 1.2, 0.075 1.3, 0.085 1.4, 0.04 1.58, 0.0 1.74"))
    lathe("flame", drop, flame)

    ring("eye", (0, 0, 3.82), 0.11, 0.04, iron)
    ring("handle", (0, -0.02, 4.22), 0.4, 0.06, brass)

    sky("#8fa0b8", "#3a3230", 0.5)
    lamp((-4, -5, 6), (0, 0, 2), 3.5, 420, "#fff0dc")
    lamp((5, -4, 3), (0, 0, 2), 3.0, 140, "#cfe0ff")
    lamp((3, 5, 6), (0, 0, 2.5), 3.0, 500, "#ffe2c0")
    lamp((-5, 4, 3), (0, 0, 2), 2.5, 300, "#a8c8ff")
    camera(2.28, 5.3, 3)


def mushroom():
    """Toadstool on a light-grey studio floor."""
    dice = Random(5)

    g = Graph("cap skin")
    height = g.axis("Z")
    base = g.mix(g.step(height, 1.6, 2.8), "#c2200e", "#860807")
    base = g.mix(g.math("MULTIPLY", g.step(g.noise(2.5), 0.4, 0.7), 0.4), base, "#cf3a10")
    base = g.mix(g.step(height, 1.74, 1.66), base, "#efc79a")
    streaks = g.noise(5.0, (1, 1, 0.3))
    red = g.surface(
        base,
        g.blend(streaks, 0.3, 0.5),
        normal=g.bump(g.math("ADD", streaks, g.noise(60.0)), 0.012),
        Coat_Weight=0.2,
        Coat_Roughness=0.15,
    )
    g = Graph("warts")
    rough = g.noise(16.0, detail=8.0)
    base = g.mix(g.step(rough, 0.3, 0.6), "#e2d3b4", "#fffaf0")
    white = g.surface(base, 0.75, normal=g.bump(rough, 0.06))
    g = Graph("stem")
    fibres = g.noise(1.0, (16, 16, 1.2))
    base = g.mix(g.step(fibres, 0.3, 0.7), "#cdb892", "#f6ecd6")
    base = g.mix(g.step(g.axis("Z"), 0.5, 0.0), base, "#a98a5c")
    base = g.mix(g.math("MULTIPLY", g.crevices(0.2), 0.5), base, "#8a6a48")
    pale = g.surface(base, 0.7, normal=g.bump(fibres, 0.05))

    def lean(r, z, a):
        return r * (1 + 0.03 * sin(3 * a + z * 2) + 0.02 * sin(7 * a + z)), z

    stem = pairs("0.0 0.0, 0.4 0.0, 0.6 0.1, 0.64 0.28, 0.52 0.55, 0.41 0.9")
    stem += pairs("0.37 1.3, 0.37 1.7, 0.42 1.95")
    lathe("stem", smooth(stem), pale, 128, lean)
    for k, z in enumerate((0.42, 0.58, 0.74)):  # scaly rings above the bulb

        def ragged(r, h, a, k=k):
            return r * (1 + 0.03 * sin(9 * a + k * 2)), h + 0.025 * sin(11 * a + k * 3)

        r = 0.585 - 0.075 * k
        lip = smooth([(r - 0.1, z + 0.08), (r, z + 0.03), (r, z - 0.02)])
        lathe("scale", lip, pale, 128, ragged)

    def frill(r, z, a):
        open_ = max(0.0, (r - 0.37) / 0.35)
        wave = 0.05 * open_ * sin(9 * a)
        return r * (1 + wave), z + wave + 0.02 * open_ * sin(17 * a)

    skirt = smooth(pairs("0.36 1.62, 0.44 1.56, 0.58 1.38, 0.7 1.2"))
    lathe("skirt", skirt, pale, 192, frill, thick=0.025)

    cap = pairs("0.0 2.86, 0.3 2.84, 0.66 2.72, 1.0 2.46, 1.24 2.1, 1.33 1.8")
    cap = smooth(cap + pairs("1.3 1.67, 1.22 1.64"))

    def bent(r, z, a):
        return r * (1 + 0.012 * sin(5 * a + 1)), z + 0.03 * (r / 1.3) ** 3 * sin(3 * a + 0.5)

    lathe("cap", cap, red, 160, bent)

    def folds(r, z, a):
        return r, bent(r, z, a)[1] + 0.035 * abs(sin(60 * a)) * min(1, 8 * (1.26 - r))

    gills = pairs("1.26 1.655, 1.0 1.72, 0.7 1.8, 0.36 1.86")
    lathe("gills", gills, pale, 720, folds)

    spots = []
    while len(spots) < 64:
        k = dice.randrange(2, len(cap) - 13)
        angle = dice.uniform(0, 2 * pi)
        (r, z), (r2, z2) = cap[k], cap[k + 1]
        size = dice.uniform(0.07, 0.17) * (1.1 if z > 2.3 else 0.8)
        if dice.random() > r / 1.3:
            continue
        at = Vector((r * cos(angle), r * sin(angle), z))
        if any((at - other).length < 1.25 * (size + reach) for other, reach in spots):
            if dice.random() < 0.995:
                continue
            break
        spots.append((at, size))
        phase = dice.uniform(0, 6)
        normal = Vector(((z - z2) * cos(angle), (z - z2) * sin(angle), r2 - r)).normalized()

        def lump(q, h, a, phase=phase):
            return q * (1 + 0.1 * sin(3 * a + phase) + 0.07 * sin(5 * a + 2 * phase)), h

        wart = ball("wart", at, (size, size, size * 0.5), white, lump)
        wart.rotation_euler = normal.to_track_quat("Z", "Y").to_euler()

    backdrop(plain("paper", "#d4d5d6", 0.9))
    sky("#ffffff", "#a0a0a0", 0.28)
    lamp((-4, -5, 6), (0, 0, 1.4), 3.0, 800, "#fff4e6")
    lamp((5, -4, 3), (0, 0, 1.4), 4.0, 160, "#e4edff")
    lamp((2, 4, 6), (0, 0, 2), 3.0, 320)
    camera(1.42, 3.75, 4)


def shield():
    """Painted heater shield with an iron rim and boss, in front of a plain wall."""
    iron = metal("iron", "#b9b6b0", "#77736e", "#241f1b", 0.3, 0.02)
    gilt = metal("gilt", "#e0b25c", "#a87a34", "#38250f", 0.28, 0.015)

    g = Graph("paint")
    x, z = g.axis("X"), g.axis("Z")
    streaks, fibres = grain(g, 2, 1.6)
    tone = g.math("ADD", streaks, g.math("MULTIPLY", fibres, 0.4))
    bare = g.mix(g.step(tone, 0.45, 0.9), "#b98a56", "#5a3a1e")
    left, upper = g.step(x, 0.008, -0.008), g.step(z, -0.008, 0.008)
    both = g.math("ABSOLUTE", g.math("SUBTRACT", left, upper))
    paint = g.mix(both, "#b3201c", "#eadfc4")
    flat = g.vector("MULTIPLY", g.position(), (1, 0, 1))
    r = g.add("VectorMath", {0: flat}, "Value", operation="LENGTH")
    angle = g.math("ARCTAN2", x, z)
    rays = g.math("PINGPONG", g.math("MULTIPLY", angle, 8 / (2 * pi)), 0.5)
    reach = g.math("SUBTRACT", 1.02, g.math("MULTIPLY", rays, 1.15))
    star = g.math("SUBTRACT", r, reach)
    paint = g.mix(g.step(star, 0.036, 0.026), paint, "#2a1710")
    paint = g.mix(g.step(star, 0.006, -0.006), paint, "#d99a2b")
    paint = g.mix(g.math("MULTIPLY", g.step(g.noise(3.0), 0.45, 0.75), 0.35), paint, "#5b4030")
    gap = g.math("PINGPONG", g.math("ADD", x, 0.2), 0.2)  # joints between the boards
    joint = g.step(gap, 0.014, 0.004)
    chips = g.math("MULTIPLY", g.step(gap, 0.07, 0.0), 0.1)
    chips = g.math("ADD", g.noise(1.0, (9, 9, 3.0), 8.0), chips)
    chipped = g.step(chips, 0.63, 0.65)
    base = g.mix(chipped, paint, bare)
    base = g.mix(g.math("MULTIPLY", joint, 0.85), base, "#170d08")
    base = g.mix(g.math("MULTIPLY", g.crevices(0.2), 0.6), base, "#1a0f0a")
    relief = g.math("SUBTRACT", g.math("MULTIPLY", streaks, 0.35), g.math("MULTIPLY", joint, 1.2))
    relief = g.math("SUBTRACT", relief, g.math("MULTIPLY", chipped, 0.25))
    board = g.surface(base, g.blend(chipped, 0.38, 0.75), normal=g.bump(relief, 0.03))

    side = smooth(pairs("0.0 -1.6, 0.42 -1.24, 0.86 -0.6, 1.12 0.1, 1.2 0.75, 1.2 1.3"), 10)
    top = smooth(pairs("1.2 1.3, 0.6 1.2, 0.0 1.3"), 10)[1:]
    half = [*side, *top]
    corners = ((0.0, -1.6), (1.2, 1.3))  # room around these, or the rim folds over itself
    half = [p for p in half if p in corners or min(math.dist(p, c) for c in corners) > 0.17]
    outline = [*half, *[(-x, z) for x, z in half[-2:0:-1]]]

    def bulge(x, z):  # depth of the curved front
        return 0.26 * x * x + 0.05 * z * z

    def inset(amount):
        """The outline moved inwards; corners are mitred."""
        out = []
        for i, (x, z) in enumerate(outline):
            (ax, az), (bx, bz) = outline[i - 1], outline[(i + 1) % len(outline)]
            before = Vector((az - z, x - ax)).normalized()
            after = Vector((z - bz, bx - x)).normalized()
            half_way = (before + after).normalized()
            way = half_way * (amount / max(0.35, half_way.dot(after)))
            out.append((x + way.x, z + way.y))
        return out

    centre = [(x * s, z * s) for s in [1 - k / 24 for k in range(24)] for x, z in outline]
    points = [(x, bulge(x, z), z) for x, z in centre] + [(0.0, 0.0, 0.0)]
    faces = grid(24, len(outline), True)
    first = 23 * len(outline)
    for c in range(len(outline)):
        faces.append((first + c, first + (c + 1) % len(outline), len(points) - 1))
    mesh("board", points, faces, board, sharp=60)
    section = pairs("-0.03 0.12, -0.05 0.05, -0.045 -0.05, -0.01 -0.085")  # inset, depth
    section += pairs("0.1 -0.085, 0.125 -0.06, 0.13 0.02")
    points = [(x, bulge(x, z) + y, z) for amount, y in section for x, z in inset(amount)]
    mesh("rim", points, grid(len(section), len(outline), True), iron, sharp=40)

    walk = inset(0.055)
    length = [0.0]  # of the walk, up to each point
    for (ax, az), (bx, bz) in zip(walk, walk[1:] + walk[:1], strict=True):
        length.append(length[-1] + math.hypot(bx - ax, bz - az))
    count = 28
    for k in range(count):
        goal = (k + 0.5) / count * length[-1]
        i = max(j for j in range(len(walk)) if length[j] <= goal)
        t = (goal - length[i]) / (length[i + 1] - length[i])
        (ax, az), (bx, bz) = walk[i], walk[(i + 1) % len(walk)]
        x, z = ax + (bx - ax) * t, az + (bz - az) * t
        ball("rivet", (x, bulge(x, z) - 0.085, z), (0.042, 0.03, 0.042), gilt)

    plate = pairs("0.0 0.05, 0.46 0.05, 0.47 0.07, 0.45 0.1, 0.36 0.1")
    to_front(lathe("plate", plate, iron), (0, 0.03, 0))
    dome = smooth(pairs("0.34 0.09, 0.32 0.2, 0.24 0.32, 0.12 0.39, 0.07 0.41"))
    to_front(lathe("dome", dome, iron), (0, 0.03, 0))
    tip = smooth(pairs("0.1 0.38, 0.1 0.43, 0.06 0.47, 0.05 0.52, 0.0 0.58"))
    to_front(lathe("tip", tip, gilt), (0, 0.03, 0))
    collar = smooth(pairs("0.36 0.09, 0.375 0.125, 0.35 0.15, 0.325 0.13"))
    to_front(lathe("collar", collar, gilt), (0, 0.03, 0))
    for k in range(8):
        a = 2 * pi * (k + 0.5) / 8
        ball("rivet", (0.41 * cos(a), -0.08, 0.41 * sin(a)), (0.034, 0.026, 0.034), gilt)

    box("wall", (0, 1.2, 0), (18, 0.2, 18), plain("wall", "#5e8a8c", 0.9), 0)
    sky("#dfe8f2", "#8a8078", 0.4)
    lamp((-3.5, -4.5, 4.5), (0, 0, 0), 2.5, 420, "#fff1e0")
    lamp((4.5, -4, 0.5), (0, 0, 0), 3.0, 130, "#dbe8ff")
    lamp((0, -7, -3), (0, 0, 0), 4.0, 90)
    camera(-0.15, 3.75)


def vase():
    """Two-handled glazed vase in a room that is out of focus."""
    dice = Random(11)

    g = Graph("glaze")
    z, turn = g.axis("Z"), g.turn()
    across, deep = g.math("SINE", turn), g.math("COSINE", turn)
    runs = g.add("CombineXYZ", {0: across, 1: deep, 2: g.math("MULTIPLY", z, 0.15)})
    drips = g.add("TexNoise", {"Vector": runs, "Scale": 5.0, "Detail": 2.0})
    edge = g.math("SUBTRACT", z, g.blend(g.step(drips, 0.35, 0.75), 0.95, 0.3))
    glazed = g.step(edge, -0.006, 0.012)
    clouds = g.noise(4.0, (1, 1, 0.4), 7.0, 0.6)
    glaze = g.mix(g.step(clouds, 0.35, 0.7), "#0d5c6b", "#1fa3a0")
    glaze = g.mix(g.step(edge, 0.16, 0.0), glaze, "#063a52")  # thick where the drips end
    glaze = g.mix(g.step(z, 2.1, 2.65), glaze, "#8fd0b4")
    specks = g.noise(70.0, detail=2.0)
    glaze = g.mix(g.math("MULTIPLY", g.step(specks, 0.66, 0.72), 0.6), glaze, "#04222c")
    clay = g.mix(g.step(g.noise(9.0), 0.35, 0.7), "#22586a", "#123a4a")
    clay = g.mix(g.step(specks, 0.62, 0.7), clay, "#0a222c")
    grooves = g.math("SINE", g.math("MULTIPLY", z, 90.0))
    height = g.math("ADD", g.math("MULTIPLY", glazed, 1.0), g.math("MULTIPLY", grooves, 0.06))
    height = g.math("ADD", height, g.math("MULTIPLY", clouds, 0.25))
    body = g.surface(
        g.mix(glazed, clay, glaze),
        g.blend(glazed, 0.75, 0.13),
        normal=g.bump(height, 0.02),
        Coat_Weight=g.math("MULTIPLY", glazed, 0.6),
        Coat_Roughness=0.04,
    )

    outside = pairs("0.0 0.03, 0.46 0.03, 0.5 0.0, 0.56 0.02, 0.56 0.1, 0.53 0.17")
    outside += pairs("0.7 0.46, 0.95 0.9, 1.02 1.25, 0.92 1.58, 0.64 1.86, 0.43 2.05")
    outside += pairs("0.37 2.24, 0.39 2.45, 0.5 2.62, 0.57 2.68, 0.57 2.73, 0.51 2.73")
    outside += pairs("0.43 2.64, 0.32 2.44, 0.3 2.2, 0.4 1.95, 0.0 1.0")
    lathe("body", smooth(outside, 6), body, 160, sharp=60)
    for side in (-1, 1):
        path = pairs("0.34 2.42, 0.6 2.52, 0.86 2.44, 1.0 2.2, 0.98 1.92, 0.87 1.68, 0.78 1.6")
        path = [(side * x, 0.0, z) for x, z in smooth(path)]
        share = [k / (len(path) - 1) for k in range(len(path))]
        tube("handle", path, [0.1 - 0.03 * sin(pi * s) for s in share], body)

    table = wood("table", "#a06a3c", "#57331a", along=0, rough=0.35, spread=0.2, aged=False)
    for k in range(7):
        box("board", (0, -2.4 + 0.75 * k, -0.06), (16, 0.74, 0.12), table, 0.012)
    box("wall", (0, 6.0, 3), (30, 0.2, 16), plain("wall", "#c99a5e", 0.9), 0)
    shelf = wood("shelf", "#7a5233", "#3f2716", along=0, aged=False)
    spines = ["#a63a2a", "#e0b545", "#b5651d", "#8b5e3c", "#c98b3a", "#7a3b2e", "#d97b3a"]
    spines = [plain("cover " + code, code, 0.6) for code in spines]
    for level in (-0.1, 2.35):
        box("shelf", (0, 5.4, level), (14, 1.0, 0.14), shelf)
        x = -4.2
        while x < 4.2:
            wide, tall = dice.uniform(0.16, 0.4), dice.uniform(1.0, 1.75)
            if dice.random() < 0.22:
                size = dice.uniform(0.28, 0.5)
                ball("pot", (x + size, 5.3, level + 0.07 + size), size, dice.choice(spines))
                x += 2 * size + 0.1
                continue
            at = (x + wide / 2, 5.35, level + 0.07 + tall / 2)
            box("book", at, (wide * 0.95, 0.7, tall), dice.choice(spines))
            x += wide

    sky("#e8eef8", "#8a7a68", 0.45)
    lamp((-4, -4, 5), (0, 0, 1.3), 2.5, 520, "#fff2e0")
    lamp((5, -3, 2.5), (0, 0, 1.3), 2.5, 160, "#dce8ff")
    lamp((2.5, 3.0, 6), (0, 0, 1.5), 2.5, 350, "#ffe6c4")
    lamp((0, 1, 7), (0, 6, 1), 4.0, 450, "#ffe9cf")
    camera(1.3, 3.6, 4, 85, 0.22)


def sword():
    """Long blade, gilt guard with curled ends, red stones."""
    gilt = metal("gilt", "#e8b95c", "#b5832f", "#3a240c", 0.22, 0.008)
    lit = {"Emission_Color": "#c00a20", "Emission_Strength": 0.25}
    ruby = plain("ruby", "#8c0614", 0.06, Coat_Weight=1.0, **lit)
    wire = metal("wire", "#e6cf9a", "#b89a5c", "#4a3618", 0.25)

    g = Graph("steel")
    brushed = g.noise(1.0, (60, 60, 1.5))
    clouds = g.noise(2.2, (1, 1, 0.6))
    base = g.mix(g.step(clouds, 0.35, 0.7), "#c9ced6", "#8d949f")
    base = g.mix(g.math("MULTIPLY", g.step(g.noise(9.0), 0.58, 0.72), 0.4), base, "#5a5650")
    base = g.mix(g.edges(0.02), base, "#f2f4f7")
    shine = g.blend(g.step(brushed, 0.3, 0.7), 0.2, 0.38)
    steel = g.surface(base, shine, 1.0, g.bump(brushed, 0.004))

    g = Graph("leather")
    cloth = g.noise(14.0)
    base = g.mix(g.step(cloth, 0.3, 0.7), "#54231a", "#2c110d")
    base = g.mix(g.math("MULTIPLY", g.crevices(0.08), 0.8), base, "#0c0504")
    leather = g.surface(base, 0.55, normal=g.bump(cloth, 0.02))

    # A slice of the blade: across (share of the half width) and depth (share of the thickness).
    slice_ = pairs("-1.0 0.0, -0.62 0.85, -0.34 1.0, -0.22 0.5, 0.0 0.35")
    slice_ += [(-x, y) for x, y in slice_[-2::-1]]
    slice_ = [*slice_, *[(x, -y) for x, y in slice_[-2:0:-1]]]
    points, rows = [], 61
    for k in range(rows):
        z = 1.5 + 3.3 * k / (rows - 1)
        tip = min(1.0, max(0.0, (z - 4.0) / 0.8))
        wide = (0.27 - 0.02 * (z - 1.5)) * (1 - tip**1.7)
        flat = min(1.0, max(0.0, (4.0 - z) / 0.5))  # the groove ends before the tip
        for across, depth in slice_:
            ridge = (1 - abs(across)) * (1 if depth >= 0 else -1)
            depth = depth * flat + ridge * (1 - flat)
            points.append((across * wide, -0.075 * depth * min(1.0, wide / 0.2), z))
    mesh("blade", points, grid(rows, len(slice_), True), steel, sharp=12)

    def curl(name, controls, thick, thin):
        path = smooth([(x, 0.0, z) for x, z in controls], 10)
        for side in (-1, 1):
            count = len(path)
            radii = [thick + (thin - thick) * k / (count - 1) for k in range(count)]
            tube(name, [(side * x, y, z) for x, y, z in path], radii, gilt)

    def spiral(x, z, start, turns, r0, r1, steps=14):
        return [
            (x + r * cos(a), z + r * sin(a))
            for k in range(steps + 1)
            for s in [k / steps]
            for r, a in [(r0 + (r1 - r0) * s, start + 2 * pi * turns * s)]
        ]

    arm = pairs("0.1 1.38, 0.35 1.4, 0.6 1.36")
    curl("arm", arm + spiral(0.86, 1.52, -pi * 0.6, 1.35, 0.2, 0.05), 0.085, 0.045)
    leaf = pairs("0.25 1.4, 0.36 1.52")
    curl("leaf", leaf + spiral(0.42, 1.66, -pi * 0.35, 1.1, 0.12, 0.04), 0.05, 0.03)
    root = pairs("0.18 1.34, 0.3 1.22")
    curl("root", root + spiral(0.42, 1.16, pi * 0.75, -1.1, 0.12, 0.035), 0.05, 0.03)
    for side in (-1, 1):
        ball("arm bead", (side * 0.86, 0, 1.52), 0.07, gilt)
    ball("heart", (0, 0, 1.4), (0.26, 0.16, 0.2), gilt)
    ball("stone", (0, -0.12, 1.41), (0.13, 0.09, 0.13), ruby)
    ring("setting", (0, -0.13, 1.41), 0.135, 0.025, wire)
    tongue = pairs("-0.2 1.5, -0.17 1.68, -0.07 1.8, 0.0 2.02, 0.07 1.8, 0.17 1.68, 0.2 1.5")
    mesh("tongue", [(x, 0, z) for x, z in tongue], [tuple(range(7))], gilt, thick=0.19, bevel=0.02)

    def wrapped(r, z, a):
        return r * (1 + 0.09 * abs(sin(16 * z + a / 2 + pi / 4))), z

    hilt = [(0.115 + 0.03 * sin(pi * k / 80), 0.46 + 0.8 * k / 80) for k in range(81)]
    lathe("grip", hilt, leather, 64, wrapped, sharp=80)
    path = []
    for k in range(241):
        z = 0.5 + 0.72 * k / 240
        a = -2 * (16 * z + pi / 4)
        r = 0.117 + 0.03 * sin(pi * (z - 0.46) / 0.8)
        path.append((r * cos(a), r * sin(a), z))
    tube("grip wire", path, 0.014, wire)
    for z in (0.45, 1.24):
        band = [(0.1, z - 0.05), (0.17, z - 0.03), (0.17, z + 0.03), (0.1, z + 0.05)]
        lathe("ferrule", smooth(band), gilt)
    disc = smooth(pairs("0.0 -0.1, 0.16 -0.1, 0.25 -0.06, 0.28 0.0, 0.25 0.06, 0.16 0.1, 0.0 0.1"))
    to_front(lathe("pommel", disc, gilt), (0, 0, 0.2))
    ball("pommel stone", (0, -0.09, 0.2), (0.14, 0.07, 0.14), ruby)
    ring("pommel setting", (0, -0.1, 0.2), 0.15, 0.025, wire)
    ball("button", (0, 0, -0.1), (0.07, 0.07, 0.06), gilt)

    sky("#e6eefc", "#4a4038", 0.55)
    lamp((-6, -3, 3.5), (0, 0, 2.5), 4.0, 260, "#fff4e6")
    lamp((3, -7, 5), (0, 0, 2.2), 3.0, 420, "#fff2e0")
    lamp((-5, 3, 3), (0, 0, 2.2), 3.0, 380, "#bcd4ff")
    lamp((5, 3, 4), (0, 0, 2.2), 3.0, 380, "#ffd9a8")
    camera(2.33, 5.4)


def barrel():
    """Oak barrel with iron hoops in front of a stone wall."""
    dice = Random(3)
    oak = wood("oak", "#bd7f42", "#6b3b17", rough=0.5)
    lid = wood("lid", "#b07a44", "#5e3618", along=0)
    iron = metal("iron", "#8a8480", "#4d4744", "#1c1512", 0.4, 0.02)
    cork = plain("cork", "#c99a62", 0.8)

    tall, end, middle, count, wall = 2.7, 0.8, 1.04, 20, 0.09  # wall: of a stave

    def radius(z):
        t = 2 * z / tall - 1
        return middle - (middle - end) * t * t

    for k in range(count):
        half = pi / count - 0.006
        angles = [2 * pi * (k + 0.5) / count + half * s for s in (-1, -0.5, 0, 0.5, 1)]
        proud = dice.uniform(-0.006, 0.006)
        points, rows = [], 25
        for row in range(rows):
            z = tall * row / (rows - 1)
            r = radius(z) + proud
            points += [(r * cos(a), r * sin(a), z) for a in angles]
            points += [((r - wall) * cos(a), (r - wall) * sin(a), z) for a in reversed(angles)]
        faces = grid(rows, 10, True)
        faces += [tuple(range(10)), tuple(range(10 * rows - 10, 10 * rows))]
        mesh(f"stave {k}", points, faces, oak, bevel=0.012)
    lining = [(r - wall, z) for z in (0.02, 0.6, 1.35, 2.1, tall - 0.2) for r in [radius(z)]]
    lathe("lining", lining, plain("lining", "#1c110a", 0.9))  # no light through the joints
    for k in range(5):
        y = -0.56 + 0.28 * k
        x = math.sqrt(0.74**2 - (abs(y) + 0.14) ** 2)
        box(f"lid {k}", (0, y, tall - 0.12), (2 * x, 0.275, 0.06), lid, 0.01)

    hoops = pairs("0.06 0.24, 0.62 0.76")
    hoops += [(tall - high, tall - low) for low, high in hoops]
    for low, high in hoops:
        a, b = radius(low) + 0.004, radius(high) + 0.004
        band = [(a - 0.02, low), (a + 0.03, low), (b + 0.03, high), (b - 0.02, high)]
        lathe("hoop", band, iron, 128, bevel=0.008)
        z = (low + high) / 2
        r = radius(z) + 0.034
        for turn in (-0.5, -0.38, 0.38, 0.5, 1.8, 3.1, 4.4):
            a = -pi / 2 + turn
            ball("rivet", (r * cos(a), r * sin(a), z), 0.032, iron)
    plug = lathe("plug", smooth(pairs("0.0 0.1, 0.085 0.1, 0.1 0.06, 0.1 -0.1")), cork)
    to_front(plug, (0, -middle + 0.01, tall / 2))
    collar = lathe("collar", pairs("0.1 0.0, 0.1 0.03, 0.17 0.025, 0.18 -0.06"), iron)
    to_front(collar, (0, -middle, tall / 2))

    def stone(name, light, dark):
        g = Graph(name)
        rough = g.noise(3.0, detail=9.0)
        base = g.mix(g.step(rough, 0.35, 0.68), dark, light)
        base = g.mix(g.math("MULTIPLY", g.per_object(), 0.55), base, dark)
        base = g.mix(g.math("MULTIPLY", g.crevices(0.2), 0.6), base, "#191c22")
        return g.surface(base, 0.85, normal=g.bump(rough, 0.08))

    brick = stone("brick", "#8f9aa2", "#545f68")
    warm = stone("pale brick", "#b4b0a4", "#7a7a78")
    flag = stone("flag", "#7d8184", "#4a4d50")
    back, high, long = 2.0, 0.42, 0.95
    box("mortar", (0, back + 0.3, 3), (20, 0.3, 10), plain("mortar", "#3b4046", 0.95), 0)
    for row in range(14):
        x = -5.5 + (row % 2) * long / 2
        while x < 5.5:
            wide = long * dice.uniform(0.75, 1.2)
            at = (x + wide / 2, back + dice.uniform(-0.03, 0.03), -0.1 + (row + 0.5) * high)
            size = (wide - 0.06, 0.4, high - 0.06)
            box(f"brick {row} {x:.2f}", at, size, warm if dice.random() < 0.18 else brick, 0.05)
            x += wide
    for row in range(10):
        x = -6.0 + (row % 2) * 0.6
        while x < 6.0:
            wide = 1.2 * dice.uniform(0.7, 1.2)
            at = (x + wide / 2, -5.2 + 0.8 * row, -0.1 + dice.uniform(-0.008, 0.008))
            box(f"flag {row} {x:.2f}", at, (wide - 0.04, 0.76, 0.2), flag, 0.03)
            x += wide

    sky("#dce6f4", "#6a6058", 0.45)
    lamp((-4, -5, 6), (0, 0, 1.4), 2.5, 620, "#ffeed6")
    lamp((5, -4, 3), (0, 0, 1.4), 3.0, 170, "#d6e4ff")
    lamp((3.5, 1.0, 5.5), (0, 0, 1.8), 2.0, 300, "#ffe0b8")
    camera(1.34, 3.9, 6)


# -------------------------------------------------------------------- table


@dataclass(frozen=True)
class Picture:
    file: str
    size: tuple[int, int]
    build: Callable[[], None]
    cut_out: bool = False  # no background: the file has alpha


PICTURES = [
    Picture("lantern.png", (512, 512), lantern, cut_out=True),
    Picture("mushroom.png", (768, 768), mushroom),
    Picture("shield.jpg", (800, 800), shield),
    Picture("vase.png", (1024, 1024), vase),
    Picture("sword.png", (512, 768), sword, cut_out=True),
    Picture("barrel.webp", (640, 640), barrel),
]


def render(picture, folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    picture.build()
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.seed = 1
    scene.cycles.samples = SAMPLES
    scene.cycles.max_bounces = 4
    scene.cycles.diffuse_bounces = 2
    scene.cycles.glossy_bounces = 2
    scene.cycles.caustics_reflective = False
    scene.cycles.use_light_tree = False
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.denoising_prefilter = "FAST"
    scene.cycles.adaptive_threshold = 0.02
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.render.film_transparent = picture.cut_out
    scene.render.resolution_x, scene.render.resolution_y = picture.size
    settings = scene.render.image_settings
    settings.file_format = FORMATS[Path(picture.file).suffix]
    settings.color_mode = "RGBA" if picture.cut_out else "RGB"
    settings.compression = 100  # PNG
    settings.quality = 92  # JPEG and WebP
    for name in dir(scene.render):  # no date or path inside the file
        if name.startswith("use_stamp"):
            setattr(scene.render, name, False)
    scene.render.filepath = str(folder / picture.file)
    bpy.ops.render.render(write_still=True)
    without_notes(folder / picture.file)


def without_notes(file):
    """Drops the render times noted in a PNG or JPEG: the same picture is then the same file."""
    data = file.read_bytes()
    if file.suffix == ".png":  # chunks: length, kind, data, checksum
        kept, at = data[:8], 8
        while at < len(data):
            end = at + 12 + int.from_bytes(data[at : at + 4], "big")
            if data[at + 4 : at + 8] in (b"IHDR", b"IDAT", b"IEND"):
                kept += data[at:end]
            at = end
        file.write_bytes(kept)
    if file.suffix == ".jpg":  # segments: marker, length, data; then the scan
        kept, at = data[:2], 2
        while data[at : at + 2] != b"\xff\xda":
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if data[at : at + 2] != b"\xff\xfe":
                kept += data[at:end]
            at = end
        file.write_bytes(kept + data[at:])


def main():
    names = [Path(p.file).stem for p in PICTURES]
    parser = argparse.ArgumentParser(description="Renders the example pictures.")
    parser.add_argument("--only", choices=names, help="one picture instead of all")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write to"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, PICTURES, strict=True):
        if options.only in (None, name):
            render(picture, options.out.resolve())


if __name__ == "__main__":
    main()
