"""Texts of `con360 --help`."""

from __future__ import annotations

MANUAL = """\
Turns a 360° video into viewpoint clips. A camera looks where the panorama is salient.
Picture and sound of that view are generated together. What happens outside the view
shapes them as well.

commands:
  demo        make a 360° sample, two views of it and a picture that explains them
  generate    make a viewpoint clip from a 360° video or panorama of your own
  reframe     make a flat video: follow what is salient, hold a view or move along a path
  level       turn, level or re-centre a 360° video, which stays one, with its sound
  check       say if a file, or each of a folder, is really 360°, and what to mend
  project     lay a flat video or picture onto a panorama, at its place, with its mask
  place       put sounds around the listener: on a 360° video, or into a field by itself
  ambisonics  make sound around the listener that fits a 360° video, by a model
  listen      make of Ambisonics what both ears hear on headphones
  when        draft a track of when things sound, from a clip's sound or picture
  page        write one HTML file to look around in, with hot spots, to send to anyone
  views       cut views all around, for any model that makes a sound for a video
  caption     describe a 360° video with a captioner and a language model of yours
  models      list which weights are here, which are missing, and where they belong
  convert     turn pickled checkpoints (.bin, .pt, .ckpt) into safetensors

`con360 COMMAND --help` lists a command's options.

examples:
  con360 demo
      Writes to con360-demo/. Needs no file, no GPU and no network.
  con360 generate concert.mp4 -o view.mp4 --caption "a red disc hums in front"
      The most salient view of the first four seconds.
  con360 generate concert.mp4 -o view.mp4 --start 12 --viewpoint 2 --conditions why.png
      The second most salient view from 0:12 on, and a picture of how it was chosen.
  con360 generate concert.mp4 -o left.mp4 --yaw -90 --pitch 10 --fov 75
      A view set by hand: 90° to the left, 10° up.
  con360 generate concert.mp4 -o view.mp4 --hold picture --caption "a drum behind you"
      The view's own picture, with generated sound.
  con360 generate concert.mp4 -o view.mp4 --model models/svg --control control.safetensors
      Another joint model, with a control module that was trained for it.
  con360 generate concert.mp4 -o view.mp4 --part video=sd15.safetensors \
      --part motion=mm_sd_v15_v2.ckpt --part audio=audioldm-m-full
      AnimateDiff and AudioLDM side by side, without a joint model.

  con360 reframe concert.mp4 -o flat.mp4 --size 1920x1080
      No generation: the camera follows what is salient, with the sound turned along.
  con360 level tilted.mp4 -o level.mp4 --pitch -8 --roll 5
      The whole sphere turned: 8° below the middle comes to the middle, 5° to the left.
  con360 project view.mp4 -o whole.mp4 --panorama concert.mp4 --yaw -90 --fov 75
      A view goes back to its place in the 360° video; the sound is copied.
  con360 place voice.wav --on concert.mp4 --follow 2 -o out.mp4
      The voice stays with what is second most salient, around the listener.

exit status:
  0    done
  1    the machine failed: disk full, a defect, ...
  2    an input cannot be used; one sentence says which and what to do
  3    check: something must be mended
  130  interrupted
Files are written under a temporary name and renamed when complete, so that a failure
leaves no half file. Warnings go to standard error.

The built-in model is small. It draws coloured shapes and knows only the words of their
captions. README.md says what it can do and which other weights fit.
"""

GENERATE = """\
Makes one viewpoint clip from a 360° video (or a still panorama): H.264 and AAC, 8
frames per second, 16 kHz mono, as large as the model draws. The view comes from
saliency (--viewpoint) or from you (--yaw, --pitch, --fov).
"""

GENERATE_NOTES = """\
Write a name that begins with a dash as ./-name.mp4. An existing OUT.mp4 is replaced
when the new one is complete. The input is never replaced.
"""

MODELS = """\
Lists every model part that con360 can use: found or missing, where it was looked for
and where it belongs, its size, licence and address. Nothing is downloaded.
"""

MODELS_NOTES = """\
Looked for in $CON360_MODELS, ~/.cache/con360/models and the models folder of ComfyUI
($COMFYUI_PATH, ~/comfy/ComfyUI). All are laid out like ComfyUI's: con360/,
con360_saliency/, checkpoints/, animatediff_models/ and so on. Files are
recognised by their headers, whatever their names.
"""

CONVERT = """\
Writes the tensors of a pickled checkpoint (.bin, .pt, .pth, .ckpt), or of all in a
folder, as safetensors under the same names. Only tensors are unpickled. A file that
would run code is refused by name, and nothing is written.
"""

CONVERT_NOTES = """\
A folder's text files are copied, so that the new folder loads like the old one.
OUTPUT appears whole or not at all; INPUT is never changed.
"""

REFRAME = """\
Makes a flat video out of a 360° one, at its own resolution and frame rate: the camera
follows what is salient (--follow), holds a view (--yaw, --pitch) or moves along
keyframes (--keyframes). Ambisonic sound turns with the view, roll included. 5.1 and 7.1
become stereo (ITU-R BS.775); mono and stereo stay as they are. Files may have any
length; no weights are needed.
"""

REFRAME_NOTES = """\
Stereo, VR180 and cubemaps are read by their metadata, or by --layout and --projection.
KEYFRAMES.json is a list like [{"time": 0, "yaw": -30, "pitch": 0, "fov": 90}, ...], in
seconds from --start and degrees. A "roll" may stand there, and an "ease": how the view
moves to the next keyframe, "linear" (evenly), "smooth" or "hold" (it cuts). The field
of view spans the longer side of the picture. Stereo comes from two virtual cardioids,
75° to either side of the view, or pans what is in front between loudspeakers (--stereo
tangent, at 30° to either side; constant-power, at 45°). Headphones get what the ears of
the dummy head KEMAR hear, or your own (--hrtf, needs h5py). Sound is resampled where
AAC lacks its rate (192 kHz, 37.8 kHz). Where its peaks would clip, all channels are
turned down alike. An existing OUT.mp4 is replaced when the new one is complete.
"""

LEVEL = """\
Turns a whole 360° video: to level its horizon, or to put something else in front. Size
and frame times stay, Ambisonic sound of order 1 to 3 turns along, and the new file
carries the metadata by which players know it. Files may have any length; no weights are
needed.
"""

LEVEL_NOTES = """\
Any layout of docs/layouts.md comes in by its metadata, or by --layout and --projection;
a whole equirectangular panorama comes out, both eyes of stereo.
Where a camera looks by --yaw and --pitch comes to the middle; where it leans to its
right by --roll, the picture turns to the left. --auto reads the tilt of sv3d boxes, of
Matroska's projection and of GPano words; InitialView words are no tilt, and --recentre
initial takes their heading. The new file states no tilt. Mono and stereo sound and a
head-locked pair do not turn; 5.1 and 7.1 become stereo. Sound of order 2 or 3, and with
a head-locked pair, is written as Opus, the rest as AAC.
An existing OUT.mp4 is replaced when the new one is complete.
"""

CHECK = """\
Says of a file, or of each media file of a folder, if it is really 360°: shape, eyes,
projection, seam, poles, horizon, movement, metadata that contradicts the picture, and
what the sound's channels are. One line each: what was found, and what to mend. Videos,
pictures and sounds of any length; nothing is written and no weights are needed.
"""

CHECK_NOTES = """\
good  fits             look     may be meant so
mend  is a fault       unknown  the measure cannot tell
A few pictures and seconds of sound are read, spread over the file. A file that cannot be
read is one line, and the folder goes on. The exit status is 3 where anything is "mend".
docs/check.md says what each line measures, and how often it was right.
"""

PROJECT = """\
Lays a flat video or picture onto a panorama, where a camera that looks there would have
seen it: on black, or on a 360° video or picture (--panorama). Its edge is feathered, and
--mask writes where it does not lie. Sound is copied. Files may have any length; no
weights are needed.
"""

PROJECT_NOTES = """\
The field of view spans the longer side of FLAT. KEYFRAMES.json is as in reframe: a place
that moves, in seconds of the result. The mask is white where FLAT does not lie: models
that paint panoramas paint what is white. On black, FLAT keeps its colours up to its edge,
and the mask alone is feathered: darkened colours would leave a dark rim. With --panorama
both are blended. Frame times are the panorama's, or FLAT's where the panorama is black or
a picture. Two pictures give a PNG. Sound is the panorama's; of a black or still one,
FLAT's. It is coded again where an MP4 does not hold it. For several flat clips, lay one
after the other.
"""

PLACE = """\
Puts sounds of any file around the listener. With --on, they are mixed into a 360°
video: its picture is copied bit for bit, and its sound becomes Ambisonics (AmbiX) that
players turn. Without it, OUT.wav is the Ambisonics alone, of 4, 9 or 16 channels. Files
may have any length; no weights are needed.
"""

PLACE_NOTES = """\
FOLDER holds sounds named like its views (view-1.wav, ...). Each lies where its view looks,
and what several hear counts once. An OUT.mp4 without --on takes the clip of views.json.
A sound's own place stands behind an @, in the words of the options:
  voice.wav@yaw=90,pitch=10  drum.wav@follow=2,gain=-6  car.wav@car.json,begin=3
KEYFRAMES.json is a list like [{"time": 0, "yaw": -30, "pitch": 0, "distance": 2}, ...],
in seconds of CLIP, degrees and metres; spread and gain may stand there too. Keyframes of
reframe fit. Several channels are mixed to one; Ambisonics is turned, so that its front
lies at its place. CLIP's own mono sound comes from everywhere, loudspeakers from their
places. --find compares the sound with what moves; what fits nothing stays diffuse. Order 1
is written as AAC, 2 and 3 as Opus. Where peaks would clip, all channels are turned down
alike.
"""

AMBISONICS = """\
Makes first-order Ambisonics for a 360° video that is silent, or whose sound has no
directions. A model reads the whole panorama and a view, and invents what may be heard. The
picture is copied bit for bit. CLIP may have any length; the built-in model needs no weights.
"""

AMBISONICS_NOTES = """\
The built-in model learnt from procedural scenes alone: coloured things that hum and beat. Of
people, streets and water it knows nothing; OmniAudio does (con360 models says where it
belongs). MetaCLIP, its picture encoder, is CC BY-NC: both together are not for commercial
use. Long clips are made in groups of windows. OUT.mp4.unfinished.wav is the sound so far,
to be played meanwhile. Features of pictures and finished groups stay in ~/.cache/con360
($CON360_CACHE): another seed reads no picture, and after a break the same command goes on.
The model's own level stays, unless its first group passes -1 dBFS; then all of it is turned
down alike. Later peaks are limited, and nothing is turned up unless --gain says so.
"""

LISTEN = """\
Turns Ambisonics, or the sound of a 360° video, into what two ears hear on headphones: a
stereo WAV. The head holds a direction (--yaw, --pitch) or turns along a path (--path).
Files may have any length.
"""

LISTEN_NOTES = """\
KEYFRAMES.json is a list like [{"time": 0, "yaw": -30, "pitch": 0}, ...], in seconds and
degrees; keyframes of reframe fit. The ears are those of MIT KEMAR, or your own from a
SOFA file (pip install h5py). Loudspeakers are heard at their places, mono from
everywhere. Where peaks would clip, both ears are turned down alike.
"""

WHEN = """\
Drafts a time track: the onsets and the level of a clip's sound, or of what grows and
brightens in its picture (--from picture). Edit the file, then let a generated sound
follow it: con360 generate CLIP --when TRACK.json.
"""

WHEN_NOTES = """\
TRACK.json is like {"onsets": [{"time": 0.5, "strength": 1, "label": "hit"}],
"envelope": {"points": [{"time": 0, "db": -20}, {"time": 1, "db": -60}]}}; both parts
may be absent. Decibels count from full scale, and -60 is silence. TRACK.csv has lines
of TIME,LABEL. Times from a picture are known to half a frame of the video.
"""

PAGE = """\
Writes one HTML file that holds a 360° video: drag to look around, and its Ambisonic
sound turns on headphones. Hot spots step into the clips of views and back. The page
needs no server and asks the network for nothing. It holds at most 200 MB.
"""

PAGE_NOTES = """\
A hot spot is a file, a direction in degrees and a caption:
  --view drummer.mp4@120,-5="the drummer"
Without a direction its button stands below the picture alone. Views must be of a codec
that browsers play, such as H.264. CLIP itself is coded again where browsers do not
play it, or where --size, --start, --duration or one eye are asked for.
"""

VIEWS = """\
Writes one clip per view around a 360° video, and views.json with their directions.
Let any model make a sound for each clip, save the sounds beside them as view-1.wav,
view-2.wav and so on, and `con360 place --sounds` joins them to Ambisonics. Views stand
evenly around, or look at what is salient (--regions).
"""

VIEWS_NOTES = """\
files:
  view-1.mp4, ...  the views, clockwise from the front, or the most salient one first
  views.json       name, yaw, pitch, fov and direction in words of each
Files of those names are replaced, others in FOLDER stay.
"""

CAPTION = """\
Describes a 360° video: a captioner (BLIP-2, BLIP) looks at the six cube faces at
several times, and a language model (Llama 3.2, any small instruct model) merges its
words into one caption. Without a language model they are joined by rule. Both are local
folders as transformers writes them; nothing is downloaded.
"""

CAPTION_NOTES = """\
A prompt is text, or @FILE. The face prompt may hold {direction}; the merge prompt
holds {captions}, the short prompt {description}. The same input gives the same words.
"""

DEMO = """\
Renders a 360° sample (a circle of sounding shapes: procedural, not filmed), finds
what is salient in it, and generates two views. Then it takes the performer behind
the first camera out of the scene and generates the first view again with the same
seed. A sound that is gone from it came from behind the camera.
"""

DEMO_NOTES = """\
files:
  sample-360.mp4         the sample; players turn it, its Ambisonic sound too
  viewpoint-1.mp4        the view of what is most salient
  viewpoint-2.mp4        the view of what comes second
  viewpoint-1-alone.mp4  the first view without the performer behind the camera
  conditions.png         a picture that explains them
"""
