from flask import Flask, request, url_for

app = Flask(__name__)


@app.route("/")
def hello():
    return "Hello, " + request.args.get("name", "World")


@app.route("/form", methods=["POST"])
def form():
    return {"name": request.form["name"], "here": url_for("hello", _external=True)}
